//! What the real service refuses of a request's body: names it does not know, roles it does not have, schemas of another
//! kind than its own.

use serde_json::{Map, Value};

use crate::sim::route::Route;

const CONFIG: &[&str] = &[
    "temperature",
    "topP",
    "topK",
    "maxOutputTokens",
    "stopSequences",
    "candidateCount",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "thinkingConfig",
    "responseLogprobs",
    "logprobs",
];
const SCHEMA: &[&str] = &[
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "enum",
    "items",
    "maxItems",
    "minItems",
    "properties",
    "required",
    "propertyOrdering",
    "anyOf",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "example",
    "default",
];
/// Texts that may be embedded together.
const MAX_BATCH: usize = 100;
const TYPES: &[&str] = &["STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"];

/// The service's words when it refuses the body of a call of this route.
pub(super) fn body(route: Route, model: &str, body: &Value) -> Result<(), String> {
    let known: &[&str] = match route {
        Route::Embed => &["model", "content", "taskType", "title", "outputDimensionality"],
        Route::Tokenize => &["contents", "generateContentRequest"],
        _ => &[
            "contents",
            "systemInstruction",
            "system_instruction",
            "generationConfig",
            "tools",
            "toolConfig",
            "safetySettings",
            "cachedContent",
        ],
    };
    if let Some(requests) = body.get("requests").and_then(Value::as_array) {
        names(body, &["requests"], "")?;
        if requests.is_empty() || requests.len() > MAX_BATCH {
            return Err(format!(
                "* BatchEmbedContentsRequest.requests: at most {MAX_BATCH} requests can be in one batch"
            ));
        }
        return requests.iter().try_for_each(|request| self::body(route, model, request));
    }
    let fields = names(body, known, "")?;
    if route == Route::Embed {
        let named = fields.get("model").and_then(Value::as_str);
        if named.is_some_and(|named| named != format!("models/{model}")) {
            return Err("The model of the body is not the model of the path.".to_owned());
        }
        return content(fields.get("content").unwrap_or(&Value::Null));
    }
    let contents = fields.get("contents").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if contents.is_empty() {
        return Err("* GenerateContentRequest.contents: contents is not specified".to_owned());
    }
    contents.iter().try_for_each(content)?;
    let system = ["systemInstruction", "system_instruction"].into_iter().filter_map(|name| fields.get(name));
    system.into_iter().try_for_each(content)?;
    if model.starts_with("gemini-3") {
        contents.iter().try_for_each(signature)?;
    }
    tools(fields)?;
    fields.get("generationConfig").map_or(Ok(()), config)
}

/// Its third generation wants the first of calls that were made together back with its signature.
fn signature(content: &Value) -> Result<(), String> {
    let parts = content.get("parts").and_then(Value::as_array).into_iter().flatten();
    let first = parts.into_iter().find(|part| part.get("functionCall").is_some());
    match first {
        Some(part) if part.get("thoughtSignature").is_none() => {
            Err("Function call is missing a thought_signature in functionCall parts.".to_owned())
        }
        _ => Ok(()),
    }
}

/// Functions by their known names, and a choice that the service knows.
fn tools(fields: &Map<String, Value>) -> Result<(), String> {
    let tools = fields.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for tool in tools {
        let tool = names(tool, &["functionDeclarations"], "tools[0]")?;
        let functions =
            tool.get("functionDeclarations").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for function in functions {
            let known = ["name", "description", "parameters", "parametersJsonSchema", "response"];
            names(function, &known, "tools[0].function_declarations[0]")?;
        }
    }
    let Some(config) = fields.get("toolConfig") else { return Ok(()) };
    let config = names(config, &["functionCallingConfig"], "tool_config")?;
    let calling = config.get("functionCallingConfig").unwrap_or(&Value::Null);
    let calling = names(calling, &["mode", "allowedFunctionNames"], "tool_config.function_calling_config")?;
    let mode = calling.get("mode").and_then(Value::as_str).unwrap_or("AUTO");
    match mode {
        "AUTO" | "NONE" if calling.contains_key("allowedFunctionNames") => {
            Err("Please set allowed_function_names only when function calling mode is ANY.".to_owned())
        }
        "AUTO" | "NONE" | "ANY" => Ok(()),
        mode => Err(format!("Invalid value at 'tool_config.function_calling_config.mode', \"{mode}\"")),
    }
}

/// The fields of an object, all of them known.
fn names<'a>(value: &'a Value, known: &[&str], place: &str) -> Result<&'a Map<String, Value>, String> {
    let fields = value.as_object().ok_or("Invalid JSON payload received.")?;
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => {
            let place = if place.is_empty() { String::new() } else { format!(" at '{place}'") };
            Err(format!("Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field."))
        }
        None => Ok(fields),
    }
}

fn content(content: &Value) -> Result<(), String> {
    let fields = names(content, &["role", "parts"], "contents")?;
    if let Some(role) = fields.get("role")
        && !matches!(role.as_str(), Some("user" | "model"))
    {
        return Err("Please use a valid role: user, model.".to_owned());
    }
    let parts = fields.get("parts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_said = |part: &Value| part.get("text").is_none_or(|text| text.as_str().is_some_and(|text| !text.is_empty()));
    if parts.is_empty() || !parts.iter().all(is_said) {
        return Err("Unable to submit request because it must have a text parameter.".to_owned());
    }
    Ok(())
}

fn config(config: &Value) -> Result<(), String> {
    let fields = names(config, CONFIG, "generation_config")?;
    if let Some(seed) = fields.get("seed")
        && seed.as_i64().and_then(|seed| i32::try_from(seed).ok()).is_none()
    {
        return Err(format!("Invalid value at 'generation_config.seed' (TYPE_INT32), {seed}"));
    }
    let (own, json) = (fields.get("responseSchema"), fields.get("responseJsonSchema"));
    let mime = fields.get("responseMimeType").and_then(Value::as_str).unwrap_or("text/plain");
    match (own, json, mime) {
        (Some(_), Some(_), _) => Err("Only one of response_schema and response_json_schema can be set.".to_owned()),
        (Some(_), ..) | (_, Some(_), _) if mime != "application/json" => {
            Err(format!("Enum types and schemas are not supported with mime type {mime}."))
        }
        (Some(own), ..) => schema(own),
        _ => Ok(()),
    }
}

/// Gemini's own kind of schema: a part of OpenAPI's, with types in upper case.
fn schema(value: &Value) -> Result<(), String> {
    let fields = names(value, SCHEMA, "generation_config.response_schema")?;
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    if !TYPES.contains(&kind) {
        return Err(format!("Invalid value at 'generation_config.response_schema.type' (TYPE_ENUM), \"{kind}\""));
    }
    let properties = fields.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::values);
    let alternatives = fields.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    fields.get("items").into_iter().chain(properties).chain(alternatives).try_for_each(schema)
}
