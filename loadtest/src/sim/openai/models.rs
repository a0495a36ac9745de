//! What an OpenAI-compatible server says of its models and of itself.

use serde_json::{Value, json as value};

use crate::sim::{
    answer::Answer, capacity::Capacity, clock::unix_seconds, library::Library, model::SimModel,
    openai::flavour::Flavour,
};

/// `GET /v1/models`.
pub(crate) fn list(library: &Library, flavour: Flavour) -> Answer {
    let installed = library.installed();
    let data: Vec<Value> = installed.iter().map(|model| entry(model, flavour)).collect();
    let mut list = value!({ "object": "list", "data": data });
    if flavour == Flavour::LlamaCpp {
        // A trap that real servers set: it looks like Ollama's list.
        let looks_like_ollama = |model: &SimModel| {
            value!({ "name": model.name, "model": model.name, "modified_at": "", "size": "", "digest": "", "type": "model",
                     "capabilities": ["completion"] })
        };
        list["models"] = installed.iter().map(|model| looks_like_ollama(model)).collect();
    }
    Answer::json(200, &list)
}

/// `GET /v1/models/NAME`.
pub(crate) fn one(library: &Library, flavour: Flavour, path: &str) -> Result<Answer, Answer> {
    let name = path.strip_prefix("/v1/models/").unwrap_or_default();
    let model = library.find(name).ok_or_else(|| flavour.unknown_model(name))?;
    Ok(Answer::json(200, &entry(&model, flavour)))
}

/// `GET /version` of vLLM.
pub(crate) fn version() -> Answer {
    Answer::json(200, &value!({ "version": "0.32.0" }))
}

/// `GET /props` of llama.cpp.
pub(crate) fn props(library: &Library) -> Answer {
    let (name, n_ctx) = library.find("").map(|model| (model.name.clone(), model.context_length)).unwrap_or_default();
    let props = value!({
        "default_generation_settings": { "n_ctx": n_ctx }, "total_slots": 1, "model_alias": name,
        "model_path": format!("/models/{name}.gguf"), "chat_template": "{{ messages }}",
        "modalities": { "vision": false, "audio": false },
    });
    Answer::json(200, &props)
}

/// `GET /slots` of llama.cpp, `GET /metrics` of vLLM.
pub(crate) fn load(capacity: &Capacity, flavour: Flavour) -> Answer {
    let (running, waiting) = (capacity.running(), capacity.waiting());
    if flavour == Flavour::Vllm {
        let gauge = |name: &str, value: usize| {
            format!("# TYPE vllm:{name} gauge\nvllm:{name}{{engine=\"0\",model_name=\"sim\"}} {value}.0\n")
        };
        let text = gauge("num_requests_running", running) + &gauge("num_requests_waiting", waiting);
        return Answer::text(200, text);
    }
    let Some(slots) = capacity.slots() else {
        let message = "This server does not support slots endpoint. Start it with `--slots`";
        return flavour.refused(501, "not_supported_error", message);
    };
    let slots: Vec<Value> =
        (0..slots).map(|id| value!({ "id": id, "n_ctx": 2048, "is_processing": id < running })).collect();
    Answer::json(200, &value!(slots))
}

fn entry(model: &SimModel, flavour: Flavour) -> Value {
    let mut entry = value!({
        "id": model.name, "object": "model", "created": unix_seconds(model.modified), "owned_by": flavour.owner(),
    });
    match flavour {
        Flavour::OpenAi | Flavour::Ollama => {}
        Flavour::LlamaCpp => {
            entry["aliases"] = value!([model.name]);
            entry["meta"] = value!({
                "vocab_type": 2, "n_vocab": 49_152, "n_ctx": model.context_length, "n_ctx_train": model.context_length * 4,
                "n_embd": model.dimension, "n_params": model.size * 4 / 3, "size": model.size, "ftype": "Q4_1",
            });
            let modalities: &[&str] = if model.can("vision") { &["text", "image"] } else { &["text"] };
            entry["architecture"] = value!({ "input_modalities": modalities });
        }
        Flavour::Vllm => {
            entry["root"] = value!(model.name);
            entry["parent"] = Value::Null;
            entry["max_model_len"] = value!(model.context_length);
            entry["permission"] = value!([{ "id": "modelperm-1", "object": "model_permission", "organization": "*" }]);
        }
    }
    entry
}
