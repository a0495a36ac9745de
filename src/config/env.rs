//! The environment variables: their names, their checks, and the one-line message for each bad value.

use std::{collections::BTreeMap, net::ToSocketAddrs, num::NonZeroU64, path::PathBuf, time::Duration};

use super::{
    AccessLogConfig, AuthConfig, Config, DatabaseConfig, DeadlineConfig, DefaultsConfig, DrainConfig, LimitConfig,
    ListenConfig, LogConfig, LogFilter, LogFormat, ModelSync, NatsConfig, RateConfig, SharedConfig, StoreConfig,
    UpstreamConfig, ValkeyConfig, duration,
};
use crate::domain::{backend::trim_url, provider::ProviderKind};

/// A setting that cannot be used: the process prints this one line and exits with status 64.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct ConfigError {
    /// The variable.
    pub name: &'static str,
    /// What is wrong and what to do; never the value of a secret.
    pub problem: String,
}

const PORT: &str = "PORT";
const ADDR: &str = "ADDR";
const DATA_DIR: &str = "DATA_DIR";
const DATABASE_URL: &str = "DATABASE_URL";
const DATABASE_WAIT: &str = "DATABASE_WAIT";
const KV_HOST: &str = "KV_HOST";
const KV_PASSWORD: &str = "KV_PASSWORD";
const NATS_URL: &str = "NATS_URL";
const NATS_USER: &str = "NATS_USER";
const NATS_PASSWORD: &str = "NATS_PASSWORD";
const SECRET_KEY: &str = "SECRET_KEY";
const SECRET_KEY_PREVIOUS: &str = "SECRET_KEY_PREVIOUS";
const TOKEN: &str = "TOKEN";
/// Of commands, not of the server.
const CLIENT_TOKEN: &str = "PENSTOCK_TOKEN";
const PASSPHRASE: &str = "PENSTOCK_PASSPHRASE";
const EMBED_MODEL: &str = "EMBED_MODEL";
const TASK_MODEL: &str = "TASK_MODEL";
const EMBED_PROVIDER: &str = "EMBED_PROVIDER";
const TASK_PROVIDER: &str = "TASK_PROVIDER";
const EMBED_MODEL_CONTEXT_LENGTH: &str = "EMBED_MODEL_CONTEXT_LENGTH";
const TASK_MODEL_CONTEXT_LENGTH: &str = "TASK_MODEL_CONTEXT_LENGTH";
const MODEL_SYNC: &str = "MODEL_SYNC";
const MAX_OUTPUT_TOKENS: &str = "MAX_OUTPUT_TOKENS";
const DEFAULT_SYSTEM_INSTRUCTION: &str = "DEFAULT_SYSTEM_INSTRUCTION";
const MAX_BODY_BYTES: &str = "MAX_BODY_BYTES";
const MAX_HELD_BYTES: &str = "MAX_HELD_BYTES";
const MAX_IN_FLIGHT: &str = "MAX_IN_FLIGHT";
const RATE_LIMIT_RPM: &str = "RATE_LIMIT_RPM";
const RATE_LIMIT_BURST: &str = "RATE_LIMIT_BURST";
const RATE_LIMIT_TPM: &str = "RATE_LIMIT_TPM";
const PROMPT_DEADLINE: &str = "PROMPT_DEADLINE";
const CHAT_DEADLINE: &str = "CHAT_DEADLINE";
const EMBED_DEADLINE: &str = "EMBED_DEADLINE";
const TASKS_DEADLINE: &str = "TASKS_DEADLINE";
const DRAIN_TIMEOUT: &str = "DRAIN_TIMEOUT";
const DRAIN_SETTLE: &str = "DRAIN_SETTLE";
const CONNECT_TIMEOUT: &str = "CONNECT_TIMEOUT";
const FIRST_BYTE_TIMEOUT: &str = "FIRST_BYTE_TIMEOUT";
const IDLE_TIMEOUT: &str = "IDLE_TIMEOUT";
const REQUEST_TIMEOUT: &str = "REQUEST_TIMEOUT";
const OPENAI_BASE_URL: &str = "OPENAI_BASE_URL";
const GEMINI_BASE_URL: &str = "GEMINI_BASE_URL";
const TOKENIZER_SERVICE_URL: &str = "TOKENIZER_SERVICE_URL";
const LOG_FORMAT: &str = "LOG_FORMAT";
const METRICS_ADDR: &str = "METRICS_ADDR";
const LOG_LEVEL: &str = "LOG_LEVEL";
const ACCESS_LOG: &str = "ACCESS_LOG";
const SLOW_REQUEST: &str = "SLOW_REQUEST";

/// Longer than a database takes to come up beside us, shorter than anybody's patience.
const DATABASE_WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// Largest rate a minute: above it the shares of a nanosecond would count.
const MAX_RATE: i64 = 1_000_000_000;

/// Reads the configuration from the process's environment. Variables that are not Unicode are ignored unless they are
/// ours, and then what cannot be read is refused with the rest.
///
/// # Errors
/// As [`from_env`].
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn from_process() -> Result<(Config, Vec<String>), ConfigError> {
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    from_env(std::env::vars_os().map(|(name, value)| (text(name), text(value))))
}

/// The token that commands send to a server; `None` when it is unset or empty. It is no setting of the server.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn client_token() -> Option<String> {
    let token = std::env::var(CLIENT_TOKEN).ok()?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// The passphrase of an export; `None` when it is unset or empty. It is no setting of the server.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn passphrase() -> Option<String> {
    std::env::var(PASSPHRASE).ok().filter(|text| !text.is_empty())
}

/// Reads the configuration from variables (names in any case) and returns it with warnings to be logged.
/// An empty value counts as unset.
///
/// # Errors
/// The first setting that cannot be used.
pub fn from_env(variables: impl IntoIterator<Item = (String, String)>) -> Result<(Config, Vec<String>), ConfigError> {
    let variables: Variables =
        Variables(variables.into_iter().map(|(name, value)| (name.to_ascii_uppercase(), value)).collect());
    let is_unknown =
        |name: &&String| name.starts_with("PENSTOCK_") && ![CLIENT_TOKEN, PASSPHRASE].contains(&name.as_str());
    let warnings = variables.0.keys().filter(is_unknown);
    let warnings = warnings.map(|name| format!("{name} is not a setting of Penstock and has no effect")).collect();
    let config = Config {
        listen: listen(&variables)?,
        auth: auth(&variables)?,
        limits: limits(&variables)?,
        deadlines: DeadlineConfig {
            prompts: variables.duration(PROMPT_DEADLINE)?,
            chats: variables.duration(CHAT_DEADLINE)?,
            embeddings: variables.duration(EMBED_DEADLINE)?,
            tasks: variables.duration(TASKS_DEADLINE)?,
        },
        rates: rates(&variables)?,
        store: StoreConfig {
            database: database(&variables)?,
            data_dir: variables.text(DATA_DIR).map_or_else(|| PathBuf::from("./data"), PathBuf::from),
            secret_key: variables.text(SECRET_KEY).map(str::to_owned),
            previous_key: variables.text(SECRET_KEY_PREVIOUS).map(str::to_owned),
        },
        shared: SharedConfig { valkey: valkey(&variables)?, nats: nats(&variables)? },
        defaults: defaults(&variables)?,
        upstream: upstream(&variables)?,
        log: log(&variables)?,
        access_log: access_log(&variables)?,
        metrics: metrics(&variables)?,
        drain: drain(&variables)?,
    };
    Ok((config, warnings))
}

fn database(variables: &Variables) -> Result<Option<DatabaseConfig>, ConfigError> {
    let wait = variables.duration(DATABASE_WAIT)?;
    let Some(url) = variables.text(DATABASE_URL) else {
        return variables.useless_without(&[DATABASE_WAIT], DATABASE_URL).map(|()| None);
    };
    Ok(Some(DatabaseConfig { url: url.trim().to_owned(), wait: wait.unwrap_or(DATABASE_WAIT_DEFAULT) }))
}

fn valkey(variables: &Variables) -> Result<Option<ValkeyConfig>, ConfigError> {
    let password = variables.text(KV_PASSWORD).map(str::to_owned);
    let Some(address) = variables.text(KV_HOST).map(str::trim) else {
        return variables.useless_without(&[KV_PASSWORD], KV_HOST).map(|()| None);
    };
    let wrong = || {
        let problem = format!("'{address}' is not the address of a server such as valkey:6379");
        ConfigError { name: KV_HOST, problem }
    };
    // An address of IPv6 stands in brackets where a port follows.
    let url = url::Url::parse(&format!("redis://{address}")).map_err(|_| wrong())?;
    let is_address_alone = url.username().is_empty() && url.password().is_none() && matches!(url.path(), "" | "/");
    let host = url.host_str().filter(|host| is_address_alone && !host.is_empty()).ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Some(ValkeyConfig { host, port: url.port().unwrap_or(6379), password }))
}

fn nats(variables: &Variables) -> Result<Option<NatsConfig>, ConfigError> {
    let Some(urls) = variables.text(NATS_URL).map(str::trim) else {
        return variables.useless_without(&[NATS_USER, NATS_PASSWORD], NATS_URL).map(|()| None);
    };
    for part in urls.split(',') {
        let url = url::Url::parse(part.trim()).ok();
        if !url.is_some_and(|url| matches!(url.scheme(), "nats" | "tls") && url.host_str().is_some()) {
            // Not shown: it may hold a password.
            let problem = "is not the URL of a server such as nats://nats:4222 (tls:// for TLS)".to_owned();
            return Err(ConfigError { name: NATS_URL, problem });
        }
    }
    let text = |name| variables.text(name).map(str::to_owned);
    let (user, password) = (text(NATS_USER), text(NATS_PASSWORD));
    if user.is_none() {
        variables.useless_without(&[NATS_PASSWORD], NATS_USER)?;
    }
    Ok(Some(NatsConfig { url: urls.to_owned(), user, password }))
}

fn listen(variables: &Variables) -> Result<ListenConfig, ConfigError> {
    let port = variables.parsed(PORT, "is not a port number from 0 to 65535")?.unwrap_or(8081);
    let address = match variables.text(ADDR) {
        None => None,
        Some(text) => Some(resolve(text).ok_or_else(|| ConfigError {
            name: ADDR,
            problem: format!("'{text}' is neither an IP address nor a host name of this machine"),
        })?),
    };
    Ok(ListenConfig { address, port })
}

fn resolve(host: &str) -> Option<std::net::IpAddr> {
    let bare = host.trim().trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(|| Some((bare, 0).to_socket_addrs().ok()?.next()?.ip()))
}

/// A token from a file often ends with a line break, which no header can carry. One of nothing else was meant to protect,
/// so it must not open the door.
fn auth(variables: &Variables) -> Result<AuthConfig, ConfigError> {
    let token = variables.0.get(TOKEN).filter(|token| !token.is_empty()).map(|token| token.trim());
    match token {
        Some("") => {
            let problem = "is set but holds only white space; set a token, or unset it to let everybody in";
            Err(ConfigError { name: TOKEN, problem: problem.to_owned() })
        }
        token => Ok(AuthConfig { token: token.map(str::to_owned) }),
    }
}

fn limits(variables: &Variables) -> Result<LimitConfig, ConfigError> {
    let mut limits = LimitConfig::default();
    if let Some(bytes) = variables.positive(MAX_BODY_BYTES)? {
        limits.max_body_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
    let held = variables.parsed(MAX_HELD_BYTES, "is not a whole number from 0 (no bound) on")?;
    limits.max_held_bytes = held.unwrap_or(limits.max_held_bytes);
    if limits.max_held_bytes > 0 && limits.max_held_bytes < limits.max_body_bytes {
        let problem = format!("is less than one body may have (MAX_BODY_BYTES, {} bytes)", limits.max_body_bytes);
        return Err(ConfigError { name: MAX_HELD_BYTES, problem });
    }
    let most = variables.parsed(MAX_IN_FLIGHT, "is not a whole number from 0 (no bound) on")?;
    limits.max_in_flight = most.unwrap_or(limits.max_in_flight);
    Ok(limits)
}

fn rates(variables: &Variables) -> Result<RateConfig, ConfigError> {
    let rate = |name| -> Result<Option<NonZeroU64>, ConfigError> {
        let problem = || format!("is above {MAX_RATE}; unset it where nothing is to be limited");
        match variables.positive(name)? {
            Some(number) if number > MAX_RATE => Err(ConfigError { name, problem: problem() }),
            number => Ok(number.and_then(|number| u64::try_from(number).ok()).and_then(NonZeroU64::new)),
        }
    };
    let rates = RateConfig {
        requests_per_minute: rate(RATE_LIMIT_RPM)?,
        request_burst: rate(RATE_LIMIT_BURST)?,
        tokens_per_minute: rate(RATE_LIMIT_TPM)?,
    };
    if rates.request_burst.is_some() && rates.requests_per_minute.is_none() {
        let problem = "has no effect without RATE_LIMIT_RPM; set that too, or unset it".to_owned();
        return Err(ConfigError { name: RATE_LIMIT_BURST, problem });
    }
    Ok(rates)
}

fn drain(variables: &Variables) -> Result<DrainConfig, ConfigError> {
    let standard = DrainConfig::default();
    let is_zero = |text: &str| text.trim().trim_end_matches(char::is_alphabetic).parse() == Ok(0.0);
    let settle = match variables.text(DRAIN_SETTLE) {
        Some(text) if is_zero(text) => Duration::ZERO,
        _ => variables.duration(DRAIN_SETTLE)?.unwrap_or(standard.settle),
    };
    let timeout = variables.duration(DRAIN_TIMEOUT)?.unwrap_or(standard.timeout);
    if settle >= timeout {
        let problem =
            format!("is {settle:?}, of the {timeout:?} in all (DRAIN_TIMEOUT) nothing would be left for work");
        return Err(ConfigError { name: DRAIN_SETTLE, problem });
    }
    Ok(DrainConfig { settle, timeout })
}

fn defaults(variables: &Variables) -> Result<DefaultsConfig, ConfigError> {
    let standard = DefaultsConfig::default();
    let model = |name, default| variables.text(name).map_or(default, |text: &str| text.trim().to_owned());
    let max_output_tokens = match variables.positive(MAX_OUTPUT_TOKENS)? {
        None => standard.max_output_tokens,
        Some(tokens) => u32::try_from(tokens)
            .map_err(|_| ConfigError { name: MAX_OUTPUT_TOKENS, problem: format!("{tokens} is too large") })?,
    };
    let model_sync = match variables.text(MODEL_SYNC).map(str::to_ascii_lowercase).as_deref() {
        None | Some("additive") => ModelSync::Additive,
        Some("mirror") => ModelSync::Mirror,
        Some(other) => {
            return Err(ConfigError { name: MODEL_SYNC, problem: format!("'{other}' is not additive or mirror") });
        }
    };
    Ok(DefaultsConfig {
        embed_model: model(EMBED_MODEL, standard.embed_model),
        task_model: model(TASK_MODEL, standard.task_model),
        embed_provider: variables.provider(EMBED_PROVIDER)?,
        task_provider: variables.provider(TASK_PROVIDER)?,
        embed_context_length: variables.positive(EMBED_MODEL_CONTEXT_LENGTH)?.unwrap_or(0),
        task_context_length: variables.positive(TASK_MODEL_CONTEXT_LENGTH)?.unwrap_or(0),
        max_output_tokens,
        // Set to nothing it switches the instruction off, so here an empty value is a value.
        system_instruction: variables
            .0
            .get(DEFAULT_SYSTEM_INSTRUCTION)
            .map_or(standard.system_instruction, |text| text.trim().to_owned()),
        model_sync,
    })
}

fn upstream(variables: &Variables) -> Result<UpstreamConfig, ConfigError> {
    let standard = UpstreamConfig::default();
    Ok(UpstreamConfig {
        connect_timeout: variables.duration(CONNECT_TIMEOUT)?.unwrap_or(standard.connect_timeout),
        first_byte_timeout: variables.duration(FIRST_BYTE_TIMEOUT)?.unwrap_or(standard.first_byte_timeout),
        idle_timeout: variables.duration(IDLE_TIMEOUT)?.unwrap_or(standard.idle_timeout),
        request_timeout: variables.duration(REQUEST_TIMEOUT)?.unwrap_or(standard.request_timeout),
        openai_base_url: variables.url(OPENAI_BASE_URL)?.unwrap_or(standard.openai_base_url),
        gemini_base_url: variables.url(GEMINI_BASE_URL)?.unwrap_or(standard.gemini_base_url),
        tokenizer_service_url: variables.url(TOKENIZER_SERVICE_URL)?,
    })
}

fn log(variables: &Variables) -> Result<LogConfig, ConfigError> {
    let format = match variables.text(LOG_FORMAT).map(str::to_ascii_lowercase).as_deref() {
        None => None,
        Some("text") => Some(LogFormat::Text),
        Some("json") => Some(LogFormat::Json),
        Some(other) => {
            return Err(ConfigError { name: LOG_FORMAT, problem: format!("'{other}' is not text or json") });
        }
    };
    let filter = LogFilter::parse(variables.text(LOG_LEVEL).unwrap_or("info"));
    Ok(LogConfig { format, filter: filter.map_err(|problem| ConfigError { name: LOG_LEVEL, problem })? })
}

/// `host:port`, or a port of all interfaces.
fn metrics(variables: &Variables) -> Result<Option<ListenConfig>, ConfigError> {
    let Some(text) = variables.text(METRICS_ADDR).map(str::trim) else { return Ok(None) };
    let problem = || format!("'{text}' is neither host:port of this machine nor a port such as 9464");
    let wrong = || ConfigError { name: METRICS_ADDR, problem: problem() };
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port.parse().map_err(|_| wrong())?;
    let address = if host.is_empty() { None } else { Some(resolve(host).ok_or_else(wrong)?) };
    Ok(Some(ListenConfig { address, port }))
}

fn access_log(variables: &Variables) -> Result<AccessLogConfig, ConfigError> {
    const COMPLAINT: &str = "is not a part of all requests from 0 (none) to 1 (all)";
    let sample = variables.parsed(ACCESS_LOG, COMPLAINT)?.unwrap_or(0.0);
    if !(0.0..=1.0).contains(&sample) {
        return Err(ConfigError { name: ACCESS_LOG, problem: format!("'{sample}' {COMPLAINT}") });
    }
    let slow = match variables.text(SLOW_REQUEST).map(str::trim) {
        Some(text) if text.eq_ignore_ascii_case("off") => None,
        Some(_) => variables.duration(SLOW_REQUEST)?,
        None => AccessLogConfig::default().slow,
    };
    Ok(AccessLogConfig { sample, slow })
}

/// The environment with upper-case names.
struct Variables(BTreeMap<String, String>);

impl Variables {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.trim().is_empty())
    }

    /// Complains of settings that have no effect because another one is not set.
    fn useless_without(&self, names: &[&'static str], other: &'static str) -> Result<(), ConfigError> {
        match names.iter().find(|name| self.text(name).is_some()) {
            None => Ok(()),
            Some(name) => {
                let problem = format!("has no effect without {other}; set that too, or unset it");
                Err(ConfigError { name, problem })
            }
        }
    }

    fn parsed<T: std::str::FromStr>(&self, name: &'static str, complaint: &str) -> Result<Option<T>, ConfigError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let parsed = text.trim().parse();
        parsed.map(Some).map_err(|_| ConfigError { name, problem: format!("'{text}' {complaint}") })
    }

    fn positive(&self, name: &'static str) -> Result<Option<i64>, ConfigError> {
        const COMPLAINT: &str = "is not a whole number above 0";
        let number = self.parsed(name, COMPLAINT)?;
        match number {
            Some(number) if number < 1 => Err(ConfigError { name, problem: format!("'{number}' {COMPLAINT}") }),
            other => Ok(other),
        }
    }

    fn duration(&self, name: &'static str) -> Result<Option<Duration>, ConfigError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        duration::parse(text)
            .map(Some)
            .ok_or_else(|| ConfigError { name, problem: format!("'{text}' is not a duration such as 25s or 1m30s") })
    }

    fn provider(&self, name: &'static str) -> Result<Option<ProviderKind>, ConfigError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        ProviderKind::parse(text)
            .map(Some)
            .ok_or_else(|| ConfigError { name, problem: format!("'{text}' is not ollama, vllm, openai or gemini") })
    }

    fn url(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match url::Url::parse(text.trim()) {
            Ok(url) if url.query().is_some() || url.fragment().is_some() => {
                Err(ConfigError { name, problem: "must have neither a ?query nor a #fragment".to_owned() })
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                Ok(Some(trim_url(text.trim()).to_owned()))
            }
            _ => Err(ConfigError { name, problem: "is not an absolute http or https URL".to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<(Config, Vec<String>), ConfigError> {
        from_env(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn nothing_set_gives_the_documented_defaults() {
        let (config, warnings) = read(&[]).unwrap();
        assert_eq!((config.listen.port, config.listen.address), (8081, None));
        assert_eq!(config.defaults, DefaultsConfig::default());
        assert_eq!(config.upstream, UpstreamConfig::default());
        assert_eq!((config.drain, config.rates), (DrainConfig::default(), RateConfig::default()));
        assert!(warnings.is_empty());
    }

    #[test]
    fn names_match_in_any_case_and_empty_values_count_as_unset() {
        let (config, _) = read(&[("port", "9000"), ("Task_Model", "m"), ("EMBED_MODEL", " ")]).unwrap();
        assert_eq!(config.listen.port, 9000);
        assert_eq!(config.defaults.task_model, "m");
        assert_eq!(config.defaults.embed_model, "nomic-embed-text:latest");
    }

    #[test]
    fn every_bad_value_names_its_variable() {
        for (name, value) in [
            (PORT, "http"),
            (PORT, "70000"),
            (ADDR, "no such host!"),
            (EMBED_PROVIDER, "acme"),
            (TASK_MODEL_CONTEXT_LENGTH, "0"),
            (MODEL_SYNC, "both"),
            (MAX_OUTPUT_TOKENS, "-1"),
            (MAX_BODY_BYTES, "10MB"),
            (MAX_HELD_BYTES, "1000"),
            (DRAIN_TIMEOUT, "soon"),
            (DRAIN_SETTLE, "8s"),
            (DRAIN_SETTLE, "-1"),
            (MAX_IN_FLIGHT, "-1"),
            (MAX_IN_FLIGHT, "many"),
            (RATE_LIMIT_RPM, "0"),
            (RATE_LIMIT_RPM, "1000000001"),
            (RATE_LIMIT_TPM, "10k"),
            (CHAT_DEADLINE, "soon"),
            (RATE_LIMIT_BURST, "5"),
            (OPENAI_BASE_URL, "api.openai.com"),
            (TOKENIZER_SERVICE_URL, "tokens:8080"),
            (LOG_FORMAT, "xml"),
            (OPENAI_BASE_URL, "https://api.openai.com/v1?key=1"),
            (LOG_LEVEL, "a=b=c"),
            (LOG_LEVEL, "inof"),
            (LOG_LEVEL, "info,penstock"),
            (LOG_LEVEL, "info,penstock=debg"),
            (LOG_LEVEL, "penstock="),
            (LOG_LEVEL, "=debug"),
            (TOKEN, " \n"),
        ] {
            let Err(error) = read(&[(name, value)]) else { panic!("{name}={value} was taken") };
            assert_eq!(error.name, name);
        }
    }

    #[test]
    fn bounds_are_read_and_nothing_is_a_bound_too() {
        let (config, _) = read(&[(MAX_IN_FLIGHT, "0"), (DRAIN_SETTLE, "0s"), (DRAIN_TIMEOUT, "1m")]).unwrap();
        assert_eq!((config.limits.max_in_flight, config.drain.settle), (0, Duration::ZERO));
        let pairs = [(RATE_LIMIT_RPM, "60"), (RATE_LIMIT_BURST, "10"), (RATE_LIMIT_TPM, "1000000000")];
        let RateConfig { requests_per_minute, request_burst, tokens_per_minute } = read(&pairs).unwrap().0.rates;
        let rates = [requests_per_minute, request_burst, tokens_per_minute];
        assert_eq!(rates.map(|rate| rate.map(NonZeroU64::get)), [Some(60), Some(10), Some(1_000_000_000)]);
        let (config, _) = read(&[(DRAIN_SETTLE, "5s"), (DRAIN_TIMEOUT, "25s")]).unwrap();
        assert_eq!(config.drain, DrainConfig { settle: Duration::from_secs(5), timeout: Duration::from_secs(25) });
    }

    #[test]
    fn levels_and_directives_are_filters() {
        for filter in ["info", "WARN", "off", "info,penstock::http=debug", "a[span{x=1}]=trace,b[span]"] {
            assert_eq!(read(&[(LOG_LEVEL, filter)]).unwrap().0.log.filter.as_str(), filter);
        }
        assert_eq!(read(&[(LOG_LEVEL, " debug , hyper=off, ")]).unwrap().0.log.filter.as_str(), "debug,hyper=off");
    }

    #[test]
    fn a_token_is_taken_without_the_white_space_around_it() {
        for (text, token) in [("", None), ("s3cret", Some("s3cret")), (" s3cret\r\n", Some("s3cret"))] {
            assert_eq!(read(&[(TOKEN, text)]).unwrap().0.auth.token.as_deref(), token);
        }
    }

    #[test]
    fn metrics_are_served_where_it_is_said() {
        let at = |text| read(&[(METRICS_ADDR, text)]).map(|(config, _)| config.metrics.unwrap().to_string());
        assert_eq!(at("127.0.0.1:9464").unwrap(), "127.0.0.1:9464");
        assert_eq!(at("[::1]:9464").unwrap(), "[::1]:9464");
        assert_eq!(
            (at(":9464").unwrap(), at("9464").unwrap()),
            (at(":9464").unwrap(), "port 9464 of all interfaces".to_owned())
        );
        for wrong in ["127.0.0.1", "nowhere at all:1", "host:99999", ":"] {
            assert_eq!(at(wrong).unwrap_err().name, METRICS_ADDR, "{wrong}");
        }
        assert!(read(&[]).unwrap().0.metrics.is_none());
    }

    #[test]
    fn a_part_of_requests_and_those_that_are_slow_are_logged() {
        let log = |settings| read(settings).map(|(config, _)| config.access_log);
        assert_eq!(log(&[]).unwrap(), AccessLogConfig::default());
        let all = AccessLogConfig { sample: 1.0, slow: None };
        assert_eq!(log(&[(ACCESS_LOG, "1"), (SLOW_REQUEST, "off")]).unwrap(), all);
        let some = AccessLogConfig { sample: 0.01, slow: Some(Duration::from_millis(1_500)) };
        assert_eq!(log(&[(ACCESS_LOG, "0.01"), (SLOW_REQUEST, "1.5s")]).unwrap(), some);
        for (name, wrong) in [(ACCESS_LOG, "1.1"), (ACCESS_LOG, "-1"), (ACCESS_LOG, "NaN"), (SLOW_REQUEST, "never")] {
            let refused = read(&[(name, wrong)]).err().map(|error| error.name);
            assert_eq!(refused, Some(name), "{wrong}");
        }
    }

    #[test]
    fn an_empty_system_instruction_switches_it_off() {
        let (config, _) = read(&[(DEFAULT_SYSTEM_INSTRUCTION, "")]).unwrap();
        assert_eq!(config.defaults.system_instruction, "");
    }

    #[test]
    fn an_unknown_penstock_variable_warns() {
        let (_, warnings) = read(&[("PENSTOCK_SPEED", "11")]).unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("PENSTOCK_SPEED"));
    }
}
