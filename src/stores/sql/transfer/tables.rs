//! What goes along in an export: the tables and columns, in the order in which rows refer to each other. A new column or table of
//! the schema that is configuration belongs here, too.

use serde_json::{Map, Value as Json};

use crate::stores::sql::{aliases, backends, chains, errors::SqlError, hooks, models, pools, tokens, value::Row};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Bool,
    Text,
    /// An API key, sealed.
    Secret,
    /// The hash of a token.
    Hash,
}

/// One table, in the order in which rows refer to each other.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// What its rows are found by again.
    pub(super) key: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
    pub(super) order: &'static str,
    /// Rows that are worth nothing without their secret.
    pub(super) is_secret: bool,
    /// Whether the product can read such a row.
    pub(super) check: fn(&Row<'_>) -> Result<(), SqlError>,
}

impl Table {
    pub(super) fn secrets(&self) -> impl Iterator<Item = &(&'static str, Kind)> {
        self.columns.iter().filter(|(_, kind)| matches!(kind, Kind::Secret | Kind::Hash))
    }

    pub(super) fn id_of(&self, row: &Map<String, Json>) -> String {
        row.get(self.key).and_then(Json::as_str).unwrap_or_default().to_owned()
    }
}

pub(super) const TABLES: &[Table] = {
    use Kind::{Bool, Hash, Int, Secret, Text};
    &[
        Table {
            name: "pools",
            key: "id",
            columns: &[
                ("id", Text),
                ("name", Text),
                ("purpose_type", Text),
                ("policy", Text),
                ("queue", Text),
                ("require_labels", Text),
                ("calls", Text),
                ("created_at", Int),
                ("updated_at", Int),
            ],
            order: "created_at",
            is_secret: false,
            check: |row| pools::from_row(row).map(drop),
        },
        Table {
            name: "backends",
            key: "id",
            columns: &[
                ("id", Text),
                ("name", Text),
                ("base_url", Text),
                ("trimmed_url", Text),
                ("kind", Text),
                ("api_key", Secret),
                ("max_concurrency", Int),
                ("weight", Int),
                ("tier", Int),
                ("cloud", Bool),
                ("enabled", Bool),
                ("labels", Text),
                ("created_at", Int),
                ("updated_at", Int),
            ],
            order: "created_at",
            is_secret: false,
            check: |row| backends::from_row(row).map(drop),
        },
        Table {
            name: "provider_keys",
            key: "provider",
            columns: &[("provider", Text), ("api_key", Secret), ("created_at", Int), ("updated_at", Int)],
            order: "created_at",
            is_secret: true,
            check: |_| Ok(()),
        },
        Table {
            name: "models",
            key: "id",
            columns: &[
                ("id", Text),
                ("name", Text),
                ("context_length", Int),
                ("can_chat", Bool),
                ("can_embed", Bool),
                ("can_prompt", Bool),
                ("can_stream", Bool),
                ("created_at", Int),
                ("updated_at", Int),
            ],
            order: "created_at",
            is_secret: false,
            check: |row| models::from_row(row).map(drop),
        },
        Table {
            name: "pool_backends",
            key: "pool_id",
            columns: &[("pool_id", Text), ("backend_id", Text), ("created_at", Int)],
            order: "created_at",
            is_secret: false,
            check: |_| Ok(()),
        },
        Table {
            name: "pool_models",
            key: "pool_id",
            columns: &[("pool_id", Text), ("model_id", Text), ("created_at", Int)],
            order: "created_at",
            is_secret: false,
            check: |_| Ok(()),
        },
        Table {
            name: "hooks",
            key: "id",
            columns: &[
                ("id", Text),
                ("name", Text),
                ("endpoint_url", Text),
                ("method", Text),
                ("timeout_ms", Int),
                ("created_at", Int),
                ("updated_at", Int),
            ],
            order: "created_at",
            is_secret: false,
            check: |row| hooks::from_row(row).map(drop),
        },
        Table {
            name: "aliases",
            key: "name",
            columns: &[("name", Text), ("targets", Text), ("created_at", Int), ("updated_at", Int)],
            order: "created_at",
            is_secret: false,
            check: |row| aliases::from_row(row).map(drop),
        },
        Table {
            name: "chains",
            key: "id",
            columns: &[("id", Text), ("version", Int), ("created_at", Int)],
            order: "created_at",
            is_secret: false,
            check: |_| Ok(()),
        },
        Table {
            name: "chain_versions",
            key: "chain_id",
            columns: &[("chain_id", Text), ("version", Int), ("draft", Bool), ("created_at", Int), ("chain", Text)],
            order: "version",
            is_secret: false,
            check: chains::check_version,
        },
        Table {
            name: "deleted_chains",
            key: "id",
            columns: &[("id", Text), ("version", Int)],
            order: "place",
            is_secret: false,
            check: |_| Ok(()),
        },
        Table {
            name: "tokens",
            key: "id",
            columns: &[
                ("id", Text),
                ("name", Text),
                ("hash", Hash),
                ("hint", Text),
                ("scopes", Text),
                ("limits", Text),
                ("expires_at", Int),
                ("created_at", Int),
                ("updated_at", Int),
            ],
            order: "created_at",
            is_secret: true,
            check: |row| tokens::from_row(row).map(drop),
        },
    ]
};

/// Every column that goes along, `table.column`.
#[cfg(test)]
pub(in crate::stores) fn columns() -> std::collections::BTreeSet<String> {
    let of = |table: &'static Table| table.columns.iter().map(|(column, _)| format!("{}.{column}", table.name));
    TABLES.iter().flat_map(of).collect()
}
