//! The machine-readable description of every route (`docs/api.md`, machine-readable description): an OpenAPI 3.1 document
//! whose schemas are derived from the types that handlers read and write, put together once at the first request.
//!
//! One file a resource says in `operations()` what the rows of `http/router.rs` do; a test holds both against each other.
//! `operation` is the language they are written in, `shared` what all of them have in common.

mod aliases;
mod backends;
mod chains;
mod execution;
mod hooks;
mod keys;
mod models;
mod ollama;
mod openai;
mod operation;
mod pools;
mod providers;
mod queue;
mod runs;
mod service;
mod shared;
mod tokens;

use std::{collections::BTreeSet, sync::LazyLock};

use serde_json::{Map, Value as Json};
use utoipa::openapi::{
    Components, OpenApiBuilder, Paths, RefOr, Schema,
    tag::{Tag, TagBuilder},
};

use self::operation::Operation;
pub(super) use self::shared::ChainSchema;
use super::Reply;
use crate::{
    engine,
    error::{Error, ErrorCode},
};

static DOCUMENT: LazyLock<Option<Vec<u8>>> = LazyLock::new(|| {
    let mut text = serde_json::to_vec(&document()?).ok()?;
    text.push(b'\n');
    Some(text)
});

/// Resources, in the order of `docs/api.md`.
const TAGS: [(&str, &str); 15] = [
    ("service", "What the service says of itself"),
    ("execution", "Prompts, embeddings and chains"),
    ("runs", "Chains that run now"),
    ("backends", "Servers that run models, and which pools they are in"),
    ("models", "Declared models, and which pools they are in"),
    ("pools", "Groups of backends and models, and how one is chosen"),
    ("aliases", "Names of one's own for models, with further ones to fall back on"),
    ("providers", "Keys of cloud providers"),
    ("tokens", "API tokens"),
    ("keys", "The secret that stored keys are encrypted with"),
    ("queue", "Model downloads"),
    ("hooks", "Services that chains may call"),
    ("chains", "Chains kept under an id, and what is wrong with one"),
    ("openai", "OpenAI's API over all backends and chains"),
    ("ollama", "Ollama's API over all backends and chains"),
];

const ABOUT: &str = "Prompts, chats, embeddings and task chains on pools of LLM backends. Bodies may be JSON or YAML where \
     both are listed; names of fields are then matched without regard to case and `_`, unknown fields are ignored, and `null` is \
     the same as absent. `docs/api.md` of the source says more of each route.";

/// `GET /openapi.json`.
///
/// # Errors
/// None but faults of ours.
pub fn openapi() -> Result<Reply, Error> {
    let text =
        DOCUMENT.as_ref().ok_or_else(|| Error::new(ErrorCode::Internal, "the description could not be encoded"))?;
    Ok(Reply::encoded_json(text.clone()))
}

/// Every operation, resource by resource.
fn operations() -> Vec<Operation> {
    [
        service::operations(),
        execution::operations(),
        runs::operations(),
        backends::operations(),
        models::operations(),
        pools::operations(),
        aliases::operations(),
        providers::operations(),
        tokens::operations(),
        keys::operations(),
        queue::operations(),
        hooks::operations(),
        chains::operations(),
        openai::operations(),
        ollama::operations(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn document() -> Option<Json> {
    let mut paths = Paths::new();
    let mut schemas: Vec<(String, RefOr<Schema>)> = Vec::new();
    let mut failures = BTreeSet::new();
    for operation in operations() {
        failures.extend(operation.failures());
        schemas.extend(operation.write(&mut paths));
    }
    let components: Components = shared::components(&failures).schemas_from_iter(schemas).build();
    let tag = |(name, about): (&str, &str)| -> Tag { TagBuilder::new().name(name).description(Some(about)).build() };
    let whole = OpenApiBuilder::new()
        .info(shared::info(ABOUT))
        .paths(paths)
        .components(Some(components))
        .security(Some(shared::security()))
        .tags(Some(TAGS.map(tag)))
        .build();
    let mut document = serde_json::to_value(&whole).ok()?;
    if let Some(Json::Object(schemas)) = document.pointer_mut("/components/schemas") {
        schemas.values_mut().for_each(drop_empty_defaults);
        insert_chain(schemas);
    }
    Some(document)
}

/// What an absent field is read as says nothing where it is no value of its own.
fn drop_empty_defaults(schema: &mut Json) {
    match schema {
        Json::Object(fields) => {
            let is_empty = |value: &Json| [Json::Null, "".into(), 0.into(), Json::Array(Vec::new())].contains(value);
            if fields.get("default").is_some_and(is_empty) {
                fields.remove("default");
            }
            fields.values_mut().for_each(drop_empty_defaults);
        }
        Json::Array(items) => items.iter_mut().for_each(drop_empty_defaults),
        _ => {}
    }
}

/// A chain's schema is the published one (`docs/chain.schema.json`): it has its own generator, which knows all fields in
/// both spellings of a task. Its definitions move to where this document keeps them.
fn insert_chain(schemas: &mut Map<String, Json>) {
    let mut chain = engine::chain_schema();
    let definitions = chain.as_object_mut().and_then(|fields| {
        fields.remove("$schema");
        fields.remove("$id");
        fields.remove("$defs")
    });
    if let Some(Json::Object(definitions)) = definitions {
        for (name, mut definition) in definitions {
            move_references(&mut definition);
            schemas.insert(chain_part(&name), definition);
        }
    }
    move_references(&mut chain);
    schemas.insert(shared::CHAIN.to_owned(), chain);
}

/// The name of a definition of a chain's schema, which others of that name must not take the place of.
fn chain_part(name: &str) -> String {
    format!("{}.{name}", shared::CHAIN)
}

fn move_references(schema: &mut Json) {
    match schema {
        Json::Object(fields) => {
            if let Some(Json::String(target)) = fields.get_mut("$ref") {
                if let Some(name) = target.strip_prefix("#/$defs/") {
                    *target = format!("#/components/schemas/{}", chain_part(name));
                } else if let Some(within) = target.strip_prefix("#/properties/") {
                    *target = format!("#/components/schemas/{}/properties/{within}", shared::CHAIN);
                }
            }
            fields.values_mut().for_each(move_references);
        }
        Json::Array(items) => items.iter_mut().for_each(move_references),
        _ => {}
    }
}
