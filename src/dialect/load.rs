//! How servers tell their load: vLLM in its metrics, llama.cpp's server in its list of slots (`docs/backends.md`, load).

use serde::Deserialize;

use super::{json, reply::ReplyError};
use crate::domain::load::LoadSignal;

/// Reads vLLM's `/metrics`, in Prometheus' text format.
pub fn of_vllm_metrics(text: &str) -> LoadSignal {
    LoadSignal {
        slots: None,
        running: gauge(text, "vllm:num_requests_running"),
        waiting: gauge(text, "vllm:num_requests_waiting"),
    }
}

#[derive(Deserialize)]
struct Slot {
    #[serde(default)]
    is_processing: bool,
}

/// Reads `/slots` of llama.cpp's server. What waits it tells only in metrics that are off by default.
///
/// # Errors
/// A body that is no list of slots.
pub fn of_llama_cpp_slots(body: &[u8]) -> Result<LoadSignal, ReplyError> {
    let slots: Vec<Slot> = json::decode(body)?;
    let running = slots.iter().filter(|slot| slot.is_processing).count();
    Ok(LoadSignal {
        slots: u16::try_from(slots.len()).ok().filter(|slots| *slots > 0),
        running: u32::try_from(running).ok(),
        waiting: None,
    })
}

/// The sum of a gauge over its labels: one server may run several engines. `None` where it is not told.
fn gauge(text: &str, name: &str) -> Option<u32> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        // Else it is a longer name that begins alike.
        let rest = if rest.starts_with('{') { rest.rsplit_once('}')?.1 } else { rest };
        let value = rest.strip_prefix([' ', '\t'])?.split_whitespace().next()?;
        value.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0)
    });
    let sum = values.fold(None, |sum: Option<f64>, value| Some(sum.unwrap_or(0.0) + value))?;
    // Saturates: nobody has so many.
    Some(sum as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vllms_gauges_are_summed_over_its_engines_and_no_other_name_is_taken_for_them() {
        let text = "# HELP vllm:num_requests_running Number of requests\n# TYPE vllm:num_requests_running gauge\n\
                    vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 3.0\n\
                    vllm:num_requests_running{engine=\"1\",model_name=\"m {x} y\"} 2.0 1760000000000\n\
                    vllm:num_requests_waiting{engine=\"0\"} 4.0\n\
                    vllm:num_requests_waiting_by_reason{reason=\"capacity\"} 9.0\n";
        assert_eq!(of_vllm_metrics(text), LoadSignal { slots: None, running: Some(5), waiting: Some(4) });
    }

    #[test]
    fn what_is_not_told_or_no_number_is_unknown() {
        for text in ["", "vllm:num_requests_running\nvllm:num_requests_waiting{", "vllm:num_requests_running NaN\n"] {
            assert_eq!(of_vllm_metrics(text), LoadSignal::default(), "{text:?}");
        }
        assert_eq!(of_vllm_metrics("vllm:num_requests_waiting 0\n").waiting, Some(0));
        assert_eq!(of_vllm_metrics("vllm:num_requests_waiting 1e300\n").waiting, Some(u32::MAX));
    }

    #[test]
    fn llama_cpp_tells_its_slots() {
        let body = br#"[{"id":0,"n_ctx":2048,"is_processing":true},{"id":1,"is_processing":false},{"id":2}]"#;
        let signal = of_llama_cpp_slots(body).unwrap();
        assert_eq!(signal, LoadSignal { slots: Some(3), running: Some(1), waiting: None });
        assert_eq!(of_llama_cpp_slots(b"[]").unwrap().slots, None);
        assert!(of_llama_cpp_slots(br#"{"error":{"code":501}}"#).is_err());
    }
}
