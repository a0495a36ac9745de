//! What checking against a schema may cost, known before anything is checked.
//!
//! References make a small schema a large one: forty definitions that each name the next one twice are a million
//! million checks. So a schema is weighed as if every reference were written out.

use std::collections::HashMap;

use serde_json::Value as Json;

/// Subschemas with all references written out.
const HEAVIEST: u64 = 100_000;
/// Subschemas inside one another, references counted.
const DEEPEST: usize = 200;
/// Parts of a value, times the subschemas it is checked against.
const MOST_CHECKS: u64 = 20_000_000;
/// Subschemas inside one another, times the depth of a value: the checks recurse.
const MOST_NESTED: usize = 6_000;

/// Keywords that make a reference mean something else than a place in the schema.
const REFUSED: [&str; 5] = ["$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef"];

/// How heavy a schema is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Weight {
    nodes: u64,
    depth: usize,
    /// How often one round of references goes round again with the same part of a value: with two, a part ten levels down is
    /// checked a thousand times.
    rounds: u64,
    /// Whether a reference leads back to where it stands in.
    pub(super) is_recursive: bool,
}

impl Weight {
    /// Weighs a schema.
    ///
    /// # Errors
    /// When it is too heavy, or uses references that cannot be weighed.
    pub(super) fn of(schema: &Json) -> Result<Self, String> {
        let mut scale = Scale { root: schema, known: HashMap::new(), is_recursive: false };
        let Weighed { nodes, depth, rounds } = scale.weigh(schema, 0)?;
        Ok(Self { nodes, depth, rounds, is_recursive: scale.is_recursive })
    }

    /// Whether a value may be checked.
    pub(super) fn allows(&self, value: &Json) -> bool {
        let (nodes, depth) = extent(value);
        let again = self.rounds.max(1).saturating_pow(u32::try_from(depth - 1).unwrap_or(u32::MAX));
        self.nodes.saturating_mul(nodes).saturating_mul(again) <= MOST_CHECKS
            && self.depth.saturating_mul(depth) <= MOST_NESTED
    }
}

#[derive(Clone, Copy)]
struct Weighed {
    nodes: u64,
    depth: usize,
    rounds: u64,
}

struct Scale<'a> {
    root: &'a Json,
    /// By address; `None` while it is being weighed.
    known: HashMap<usize, Option<Weighed>>,
    is_recursive: bool,
}

impl<'a> Scale<'a> {
    fn weigh(&mut self, schema: &'a Json, above: usize) -> Result<Weighed, String> {
        let too_deep = || format!("its subschemas are nested deeper than {DEEPEST}, references counted");
        let address = std::ptr::from_ref(schema) as usize;
        if !(schema.is_object() || schema.is_array()) {
            return Ok(Weighed { nodes: 1, depth: 1, rounds: 0 });
        }
        match self.known.get(&address) {
            Some(Some(weighed)) if above + weighed.depth > DEEPEST => return Err(too_deep()),
            Some(Some(weighed)) => return Ok(*weighed),
            Some(None) => {
                self.is_recursive = true;
                return Ok(Weighed { nodes: 1, depth: 1, rounds: 1 });
            }
            None if above >= DEEPEST => return Err(too_deep()),
            None => self.known.insert(address, None),
        };
        let mut sum = Weighed { nodes: 1, depth: 0, rounds: 0 };
        match schema {
            Json::Array(items) => {
                for item in items {
                    sum = self.add(sum, item, above)?;
                }
            }
            Json::Object(fields) => {
                if let Some(refused) =
                    REFUSED.into_iter().find(|name| fields.get(*name).is_some_and(|value| !value.is_object()))
                {
                    return Err(format!(
                        "{refused} is not supported; put what is used often into $defs and name it with $ref '#/$defs/…'"
                    ));
                }
                if above > 0 && fields.get("$id").is_some_and(Json::is_string) {
                    return Err("only the schema as a whole may have an $id".to_owned());
                }
                for (name, value) in fields {
                    match (name.as_str(), value) {
                        ("$ref", Json::String(target)) => match pointed(self.root, target) {
                            Some(target) => sum = self.add(sum, target, above)?,
                            None if target.starts_with('#') => {
                                return Err(format!("$ref '{target}' names no place in the schema"));
                            }
                            // Refused when it is compiled, unless it is one of the drafts themselves.
                            None => {}
                        },
                        // What is named from nowhere costs nothing.
                        ("$defs" | "definitions", Json::Object(_)) => {}
                        // Each field of a value meets one of these, so they do not add up.
                        ("properties", Json::Object(fields)) => {
                            let (before, mut most) = (sum.rounds, 0);
                            for field in fields.values() {
                                sum = self.add(Weighed { rounds: 0, ..sum }, field, above + 1)?;
                                most = most.max(sum.rounds);
                            }
                            sum.rounds = before.saturating_add(most);
                            sum.depth += 1;
                        }
                        (_, value) => sum = self.add(sum, value, above)?,
                    }
                }
            }
            _ => {}
        }
        sum.depth += 1;
        self.known.insert(address, Some(sum));
        Ok(sum)
    }

    fn add(&mut self, sum: Weighed, part: &'a Json, above: usize) -> Result<Weighed, String> {
        let part = self.weigh(part, above + 1)?;
        let nodes = sum.nodes.saturating_add(part.nodes);
        if nodes > HEAVIEST {
            return Err(format!("with its references written out it has more than {HEAVIEST} parts"));
        }
        Ok(Weighed { nodes, depth: sum.depth.max(part.depth), rounds: sum.rounds.saturating_add(part.rounds) })
    }
}

/// The place that a `$ref` such as `#/$defs/a` names.
fn pointed<'a>(root: &'a Json, target: &str) -> Option<&'a Json> {
    let pointer = target.strip_prefix('#')?;
    let decoded = percent_encoding::percent_decode_str(pointer).decode_utf8().ok()?;
    root.pointer(&decoded)
}

/// The parts of a value, and how deep they are nested.
fn extent(value: &Json) -> (u64, usize) {
    let of_all = |parts: &mut dyn Iterator<Item = &Json>| {
        parts.fold((1, 1), |(nodes, depth), part| {
            let (more, below) = extent(part);
            (nodes + more, depth.max(below + 1))
        })
    };
    match value {
        Json::Array(items) => of_all(&mut items.iter()),
        Json::Object(fields) => of_all(&mut fields.values()),
        _ => (1, 1),
    }
}
