//! Rows of `models`: declared models, found by id or name.
//!
//! Owns the table's SQL and the rule that no model's name is another's id, so that a lookup by either finds one model.
//! Called by `catalog`; `associations`, `intent` and `seed` read rows through it.

use crate::{
    domain::{
        model::{Capabilities, Model, ModelPatch, with_tag},
        page::Page,
    },
    stores::{
        catalog::StoreError,
        sql::{
            columns::{bounds, time},
            errors::SqlError,
            session::{Session, Statements, Table},
            value::{Row, named},
        },
    },
};

pub(super) fn create(session: &Session, patch: &ModelPatch) -> Result<Model, StoreError> {
    let Some(name) = &patch.model else {
        return Err(StoreError::Invalid("model is required".to_owned()));
    };
    let capabilities = patch.capabilities();
    refuse_useless(name, capabilities)?;
    let created_at = session.admit(Table::Models)?;
    insert(session, name, patch.context_length.unwrap_or(0), capabilities, created_at)
}

/// Declares a model, whatever the cap: the seeded ones must exist.
pub(super) fn insert(
    session: &Session,
    name: &str,
    context_length: i64,
    capabilities: Option<Capabilities>,
    created_at: i64,
) -> Result<Model, StoreError> {
    refuse_taken(session, name, None)?;
    let stored = session.find(
        "INSERT INTO models (id, name, context_length, can_chat, can_embed, can_prompt, can_stream,
                             created_at, updated_at)
         VALUES (:name, :name, :context_length, :can_chat, :can_embed, :can_prompt, :can_stream,
                 :created_at, :created_at)
         RETURNING *",
        named! {
            ":name": name,
            ":context_length": context_length,
            ":can_chat": capabilities.map(|can| can.can_chat),
            ":can_embed": capabilities.map(|can| can.can_embed),
            ":can_prompt": capabilities.map(|can| can.can_prompt),
            ":can_stream": capabilities.map(|can| can.can_stream),
            ":created_at": created_at,
        },
        from_row,
    )?;
    stored.ok_or_else(|| not_found(name))
}

pub(super) fn update(session: &Session, id: &str, patch: &ModelPatch) -> Result<Model, StoreError> {
    let stored = get(session, id)?;
    // Over what the caller was shown: for an undeclared model that is the best guess.
    let known = stored.known_capabilities();
    let capabilities = patch.capabilities().map(|_| Capabilities {
        can_chat: patch.can_chat.unwrap_or(known.can_chat),
        can_embed: patch.can_embed.unwrap_or(known.can_embed),
        can_prompt: patch.can_prompt.unwrap_or(known.can_prompt),
        can_stream: patch.can_stream.unwrap_or(known.can_stream),
    });
    let name = patch.model.as_ref().unwrap_or(&stored.name);
    refuse_useless(name, capabilities)?;
    let changed = Model {
        name: name.clone(),
        context_length: patch.context_length.unwrap_or(stored.context_length),
        capabilities: capabilities.or(stored.capabilities),
        ..stored
    };
    replace(session, &changed)
}

/// Writes all fields that may change.
pub(super) fn replace(session: &Session, model: &Model) -> Result<Model, StoreError> {
    refuse_taken(session, &model.name, Some(&model.id))?;
    let stored = session.find(
        "UPDATE models SET
             name = :name, context_length = :context_length, can_chat = :can_chat, can_embed = :can_embed,
             can_prompt = :can_prompt, can_stream = :can_stream, updated_at = CASE WHEN :now > updated_at THEN :now ELSE updated_at END
         WHERE id = :id
         RETURNING *",
        named! {
            ":id": &model.id,
            ":name": &model.name,
            ":context_length": model.context_length,
            ":can_chat": model.capabilities.map(|can| can.can_chat),
            ":can_embed": model.capabilities.map(|can| can.can_embed),
            ":can_prompt": model.capabilities.map(|can| can.can_prompt),
            ":can_stream": model.capabilities.map(|can| can.can_stream),
            ":now": session.now(),
        },
        from_row,
    )?;
    stored.ok_or_else(|| not_found(&model.id))
}

pub(super) fn delete(session: &Session, id: &str) -> Result<Model, StoreError> {
    let sql = "DELETE FROM models WHERE id = ?1 OR name = ?1 RETURNING *";
    session.find(sql, (id,), from_row)?.ok_or_else(|| not_found(id))
}

pub(super) fn get(session: &Session, id: &str) -> Result<Model, StoreError> {
    find(session, id)?.ok_or_else(|| not_found(id))
}

/// The model with this id or name.
pub(super) fn find(session: &Session, id: &str) -> Result<Option<Model>, StoreError> {
    Ok(session.find("SELECT * FROM models WHERE id = ?1 OR name = ?1", (id,), from_row)?)
}

/// The model that a name means: the one declared under it, else one whose name differs only by a missing `:latest`.
pub(super) fn find_same(session: &Session, name: &str) -> Result<Option<Model>, StoreError> {
    let tagged = with_tag(name);
    let untagged = tagged.strip_suffix(":latest").unwrap_or(name);
    let sql = "SELECT * FROM models WHERE name IN (?1, ?2, ?3) ORDER BY name = ?1 DESC LIMIT 1";
    Ok(session.find(sql, (name, &*tagged, untagged), from_row)?)
}

pub(super) fn list(session: &Session, page: Page) -> Result<Vec<Model>, StoreError> {
    let sql = "SELECT * FROM models WHERE created_at < ?1 ORDER BY created_at DESC LIMIT ?2";
    Ok(session.list(sql, bounds(page), from_row)?)
}

pub(super) fn from_row(row: &Row<'_>) -> Result<Model, SqlError> {
    let can_chat: Option<bool> = row.get("can_chat")?;
    let capabilities = match can_chat {
        Some(can_chat) => Some(Capabilities {
            can_chat,
            can_embed: row.get("can_embed")?,
            can_prompt: row.get("can_prompt")?,
            can_stream: row.get("can_stream")?,
        }),
        None => None,
    };
    Ok(Model {
        id: row.get("id")?,
        name: row.get("name")?,
        context_length: row.get("context_length")?,
        capabilities,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

pub(super) fn not_found(id: &str) -> StoreError {
    StoreError::NotFound(format!("model '{id}' not found"))
}

/// A model that can do nothing serves nobody: saying so is a mistake, leaving it open is not.
fn refuse_useless(name: &str, capabilities: Option<Capabilities>) -> Result<(), StoreError> {
    if capabilities == Some(Capabilities::NONE) {
        return Err(StoreError::Invalid(format!(
            "the model '{name}' could do nothing: set one of canChat, canEmbed, canPrompt and canStream to true"
        )));
    }
    Ok(())
}

/// No name may be another model's name or id. Looked up instead of left to the indexes, because no single one covers
/// it; there is one writer, so nothing comes between.
fn refuse_taken(session: &Session, name: &str, own_id: Option<&str>) -> Result<(), StoreError> {
    let sql = "SELECT name = ?1 FROM models WHERE (name = ?1 OR id = ?1) AND id IS DISTINCT FROM ?2 ORDER BY 1 DESC";
    match session.value(sql, (name, own_id))? {
        Some(true) => Err(StoreError::Conflict(format!("a model named '{name}' exists already"))),
        Some(false) => Err(StoreError::Conflict(format!("a model with the id '{name}' exists already"))),
        None => Ok(()),
    }
}
