//! Slots of backends that have fewer of them than there are instances: leased for a time, in the order of asking.
//!
//! A backend has two sorted sets: who holds a slot, with the end of the lease, and who waits, with the time of asking; whoever
//! is not heard of again drops out of either.

use std::{sync::LazyLock, time::Duration};

use async_trait::async_trait;
use fred::types::scripts::Script;

use super::client::ValkeyClient;
use crate::{
    domain::ids::{BackendId, InstanceId},
    stores::shared::{SlotLeases, SlotTurn},
};

/// How long one may keep a slot that others wait for.
const TURN: Duration = Duration::from_millis(500);

/// KEYS: holders (until when), since when they hold it, those who wait (since when), when they were heard of. ARGV: who asks,
/// slots, milliseconds of the lease, milliseconds of a turn, 1 if a slot is needed. Who has nothing to do keeps what he has, until
/// others wait.
static CLAIM: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        "
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local me, slots, time, turn = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local holders, since, waiting, heard = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', holders, '-inf', now)) do
  redis.call('ZREM', holders, gone)
  redis.call('HDEL', since, gone)
end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', heard, '-inf', now - time)) do
  redis.call('ZREM', heard, gone)
  redis.call('ZREM', waiting, gone)
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, 60000) end
if redis.call('ZSCORE', holders, me) then
  redis.call('ZADD', holders, now + time, me)
  if redis.call('ZCARD', waiting) > 0 and now - tonumber(redis.call('HGET', since, me) or now) >= turn then return 1 end
  return 0
end
if tonumber(ARGV[5]) == 0 then return 2 end
redis.call('ZADD', waiting, 'NX', now, me)
redis.call('ZADD', heard, now, me)
local free = slots - redis.call('ZCARD', holders)
local place = redis.call('ZRANK', waiting, me)
if place < free then
  redis.call('ZREM', waiting, me)
  redis.call('ZREM', heard, me)
  redis.call('ZADD', holders, now + time, me)
  redis.call('HSET', since, me, now)
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, 60000) end
  return 0
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, 60000) end
return 2",
    )
});

/// The same keys. ARGV: who leaves.
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(
        "
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
return 0",
    )
});

/// See the module.
pub(super) struct ValkeyTurns {
    client: ValkeyClient,
    me: InstanceId,
}

impl ValkeyTurns {
    pub(super) const fn new(client: ValkeyClient, me: InstanceId) -> Self {
        Self { client, me }
    }

    fn keys(&self, backend: &BackendId) -> Vec<String> {
        let key = |part| self.client.key(format_args!("slots:{{{backend}}}:{part}"));
        ["holders", "since", "waiting", "heard"].map(key).to_vec()
    }
}

#[async_trait]
impl SlotLeases for ValkeyTurns {
    async fn claim(&self, backend: &BackendId, slots: u16, time: Duration, is_needed: bool) -> Option<SlotTurn> {
        let turn = if is_needed { TURN } else { Duration::ZERO };
        let numbers = [u128::from(slots), time.as_millis(), turn.as_millis(), u128::from(is_needed)];
        let mut arguments = vec![self.me.as_str().to_owned()];
        arguments.extend(numbers.iter().map(u128::to_string));
        let said: u64 = self.client.run(&CLAIM, self.keys(backend), arguments).await?;
        Some(match said {
            0 => SlotTurn::Held,
            1 => SlotTurn::HandOver,
            _ => SlotTurn::Waiting,
        })
    }

    async fn release(&self, backend: &BackendId) {
        let _released: Option<i64> =
            self.client.run(&RELEASE, self.keys(backend), vec![self.me.as_str().to_owned()]).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::valkey::tests::{answering, soon};

    const TIME: Duration = Duration::from_secs(5);

    async fn until(turns: &ValkeyTurns, backend: &BackendId, slots: u16, time: Duration, wanted: SlotTurn) {
        soon(async || turns.claim(backend, slots, time, true).await.filter(|turn| *turn == wanted)).await;
    }

    #[tokio::test]
    async fn a_slot_has_one_holder_and_goes_on_to_who_waits_when_the_turn_is_over() {
        let Some((one, other)) = answering().await else { return };
        let (one, other) =
            (ValkeyTurns::new(one, InstanceId::new("one")), ValkeyTurns::new(other, InstanceId::new("other")));
        let backend = BackendId::new("b");
        for _ in 0..3 {
            assert_eq!(one.claim(&backend, 1, TIME, true).await, Some(SlotTurn::Held));
        }
        assert_eq!(other.claim(&backend, 1, TIME, true).await, Some(SlotTurn::Waiting));
        assert_eq!(other.claim(&BackendId::new("c"), 1, TIME, true).await, Some(SlotTurn::Held), "of another backend");
        until(&one, &backend, 1, TIME, SlotTurn::HandOver).await;
        assert_eq!(other.claim(&backend, 1, TIME, true).await, Some(SlotTurn::Waiting), "not before it is given back");
        one.release(&backend).await;
        assert_eq!(one.claim(&backend, 1, TIME, false).await, Some(SlotTurn::Waiting), "who needs none gets none");
        assert_eq!(one.claim(&backend, 1, TIME, true).await, Some(SlotTurn::Waiting), "others were there before");
        assert_eq!(other.claim(&backend, 1, TIME, true).await, Some(SlotTurn::Held));
        assert_eq!(other.claim(&backend, 1, TIME, false).await, Some(SlotTurn::HandOver), "who has nothing to do");
        other.release(&backend).await;
        assert_eq!(one.claim(&backend, 1, TIME, true).await, Some(SlotTurn::Held));
        assert_eq!(one.claim(&backend, 1, TIME, false).await, Some(SlotTurn::Held), "nobody else wants it");
    }

    #[tokio::test]
    async fn there_are_never_more_holders_than_slots_and_the_dead_lose_theirs() {
        let Some((client, _)) = answering().await else { return };
        let backend = BackendId::new("b");
        let turns: Vec<_> = (0..5)
            .map(|number| ValkeyTurns::new(client.clone(), InstanceId::new(format!("instance-{number}"))))
            .collect();
        let time = Duration::from_millis(300);
        let mut held = 0;
        for turn in &turns {
            held += usize::from(turn.claim(&backend, 2, time, true).await == Some(SlotTurn::Held));
        }
        assert_eq!(held, 2);
        // Those who hold them are not heard of again, nor is the first who waits.
        until(&turns[3], &backend, 2, time, SlotTurn::Held).await;
        until(&turns[4], &backend, 2, time, SlotTurn::Held).await;
    }
}
