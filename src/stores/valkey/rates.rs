//! Rates of callers over all instances: the generic cell rate algorithm (ITU-T I.371) in two scripts, by the server's clock.
//!
//! A bucket is one key that holds the time at which it is full again, and goes when it is. The callers' own buckets
//! (`http::admission`) follow what is said here, and go on from there when the server is away.

use std::{sync::LazyLock, time::Duration};

use async_trait::async_trait;
use fred::types::scripts::Script;
use tokio::sync::mpsc;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::client::ValkeyClient;
use crate::domain::shared_rates::{SharedBucket, SharedBuckets, SharedOutcome, SharedRates, Verdict};

/// Charges that may wait to be sent; more than that are counted here only.
const WAITING_CHARGES: usize = 4096;
/// Most that a bucket may owe, in microseconds of its rate (`http::admission::gcra` says why).
const MOST_OWED: u64 = 3_600_000_000;

/// Microseconds that a bucket lacks. Seconds count from a late day, so that fractions of a microsecond are exact.
const LACKING: &str = "
local t = redis.call('TIME')
local now = (tonumber(t[1]) - 1700000000) * 1000000 + tonumber(t[2])
local function lacking(key)
  return math.max(tonumber(redis.call('GET', key) or '0') - now, 0)
end
local function keep(key, lack)
  redis.call('SET', key, string.format('%.3f', now + lack), 'PX', math.ceil(lack / 1000) + 1)
end
";

/// KEYS: requests, tokens. ARGV: unit and window of each; a window of 0 is no bucket.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(format!(
        "{LACKING}
local unit, window, token_unit, token_window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local requests, tokens = 0, 0
if window > 0 then requests = lacking(KEYS[1]) end
if token_window > 0 then
  tokens = lacking(KEYS[2])
  local over = tokens + token_unit - token_window
  if over > 0.001 then return {{2, math.ceil(over), math.ceil(requests), math.ceil(tokens)}} end
end
if window > 0 then
  local over = requests + unit - window
  if over > 0.001 then return {{1, math.ceil(over), math.ceil(requests), math.ceil(tokens)}} end
  requests = requests + unit
  keep(KEYS[1], requests)
end
return {{0, 0, math.ceil(requests), math.ceil(tokens)}}"
    ))
});

/// KEYS: the bucket. ARGV: what it is charged, and the most that it may lack then.
static CHARGE: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(format!(
        "{LACKING}
local lack = lacking(KEYS[1])
keep(KEYS[1], math.min(lack + tonumber(ARGV[1]), math.max(tonumber(ARGV[2]), lack)))
return 0"
    ))
});

/// See the module.
pub(super) struct ValkeyRates {
    client: ValkeyClient,
    charges: mpsc::Sender<Charge>,
    _stop: DropGuard,
}

struct Charge {
    key: String,
    micros: f64,
    most: f64,
}

impl ValkeyRates {
    pub(super) fn new(client: ValkeyClient) -> Self {
        let (charges, waiting) = mpsc::channel(WAITING_CHARGES);
        let stop = CancellationToken::new();
        TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(charge(client.clone(), waiting)));
        Self { client, charges, _stop: stop.drop_guard() }
    }

    fn token_key(&self, caller: &str) -> String {
        self.client.key(format_args!("rate:{{{caller}}}:tokens"))
    }
}

async fn charge(client: ValkeyClient, mut waiting: mpsc::Receiver<Charge>) {
    while let Some(Charge { key, micros, most }) = waiting.recv().await {
        // While the server is away nothing is kept for it: the caller's own bucket has been charged.
        let _charged: Option<i64> = client.run(&CHARGE, key, vec![written(micros), written(most)]).await;
    }
}

#[async_trait]
impl SharedRates for ValkeyRates {
    async fn take(&self, buckets: SharedBuckets<'_>) -> Option<Verdict> {
        let SharedBuckets { caller, requests, tokens } = buckets;
        let parts = |bucket: Option<SharedBucket>| {
            bucket.map_or([0.0, 0.0], |bucket| [micros(bucket.unit), micros(bucket.window)]).map(written)
        };
        let keys = vec![self.client.key(format_args!("rate:{{{caller}}}:requests")), self.token_key(caller)];
        let arguments = [parts(requests), parts(tokens)].concat();
        let said: Vec<u64> = self.client.run(&TAKE, keys, arguments).await?;
        let [outcome, wait, requests, tokens] = said[..] else { return None };
        let wait = Duration::from_micros(wait);
        Some(Verdict {
            outcome: match outcome {
                0 => SharedOutcome::Taken,
                1 => SharedOutcome::NoRequests(wait),
                _ => SharedOutcome::NoTokens(wait),
            },
            requests_lacking: Duration::from_micros(requests),
            tokens_lacking: Duration::from_micros(tokens),
        })
    }

    fn charge(&self, caller: &str, bucket: SharedBucket, tokens: u64) {
        let most = micros(bucket.window) + MOST_OWED as f64;
        let charge =
            Charge { key: self.token_key(caller), micros: (micros(bucket.unit) * tokens as f64).min(most), most };
        // What finds no place is counted here only.
        drop(self.charges.try_send(charge));
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// As the scripts read it.
fn written(micros: f64) -> String {
    format!("{micros:.3}")
}

#[cfg(test)]
mod tests {
    use loadtest::services::valkey::Valkey;

    use super::*;
    use crate::stores::valkey::tests::{answering, client, soon};

    fn bucket(per_minute: u32, burst: u32) -> SharedBucket {
        let unit = Duration::from_secs(60) / per_minute;
        SharedBucket { unit, window: unit * burst }
    }

    fn asks(requests: Option<SharedBucket>, tokens: Option<SharedBucket>) -> SharedBuckets<'static> {
        SharedBuckets { caller: "anna", requests, tokens }
    }

    #[tokio::test]
    async fn a_burst_is_one_of_all_instances_together() {
        let Some((one, other)) = answering().await else { return };
        let (one, other) = (ValkeyRates::new(one), ValkeyRates::new(other));
        // So slow that none comes while it is looked at.
        let buckets = asks(Some(bucket(1, 3)), None);
        let mut taken = Vec::new();
        for turn in 0..4 {
            let rates = if turn % 2 == 0 { &one } else { &other };
            taken.push(rates.take(buckets).await.unwrap());
        }
        assert!(taken[..3].iter().all(|verdict| verdict.outcome == SharedOutcome::Taken), "{taken:?}");
        let SharedOutcome::NoRequests(wait) = taken[3].outcome else { panic!("{taken:?}") };
        assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(60), "{wait:?}");
        assert!(taken[3].requests_lacking > Duration::from_secs(170), "{taken:?}");
        let others = SharedBuckets { caller: "berta", ..buckets };
        assert_eq!(one.take(others).await.unwrap().outcome, SharedOutcome::Taken, "each caller has buckets of his own");
    }

    #[tokio::test]
    async fn what_one_instance_charges_is_owed_to_all() {
        let Some((one, other)) = answering().await else { return };
        let (one, other) = (ValkeyRates::new(one), ValkeyRates::new(other));
        let tokens = bucket(600, 600);
        let buckets = asks(Some(bucket(60, 60)), Some(tokens));
        assert_eq!(other.take(buckets).await.unwrap().tokens_lacking, Duration::ZERO);
        one.charge("anna", tokens, 900);
        let wait = soon(async || match other.take(buckets).await.unwrap().outcome {
            SharedOutcome::NoTokens(wait) => Some(wait),
            _ => None,
        });
        let wait = wait.await;
        assert!(wait > Duration::from_secs(20) && wait <= Duration::from_secs_f64(30.1), "{wait:?}");
        one.charge("anna", tokens, u64::MAX);
        let most = Duration::from_secs(3600 + 60);
        soon(async || {
            let lacking = other.take(buckets).await.unwrap().tokens_lacking;
            assert!(lacking <= most + Duration::from_millis(1), "nonsense is owed for an hour: {lacking:?}");
            (lacking > Duration::from_secs(3600)).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn a_server_that_hangs_or_goes_costs_one_request_its_patience_and_is_used_again() {
        if !Valkey::is_installed() {
            return;
        }
        let mut server = Valkey::start().unwrap();
        let rates = ValkeyRates::new(client(server.port(), "c"));
        let buckets = asks(Some(bucket(6000, 6000)), None);
        let is_there = async || rates.take(buckets).await;
        soon(is_there).await;
        let frozen = server.server().unwrap();
        frozen.freeze();
        assert_eq!(rates.take(buckets).await, None);
        let began = tokio::time::Instant::now();
        for _ in 0..1000 {
            assert_eq!(rates.take(buckets).await, None);
        }
        assert!(began.elapsed() < Duration::from_millis(500), "nobody else waits: {:?}", began.elapsed());
        frozen.thaw();
        soon(is_there).await;
        server.stop();
        assert_eq!(rates.take(buckets).await, None);
        server.resume().unwrap();
        soon(is_there).await;
    }
}
