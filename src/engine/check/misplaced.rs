//! Where a field belongs that stands where it does not: the hint of `UNKNOWN_FIELD`.

use std::sync::LazyLock;

use super::shape::{self, Shape};
use crate::{domain::spelling::folded, engine::suggest};

/// What people call fields in other languages, and what they are called here.
const SYNONYMS: &[(&str, &str)] = &[
    ("prompt", "prompt_template"),
    ("template", "prompt_template"),
    ("system", "system_instruction"),
    ("systemprompt", "system_instruction"),
    ("instruction", "system_instruction"),
    ("type", "handler"),
    ("kind", "handler"),
    ("next", "goto"),
    ("to", "goto"),
    ("target", "goto"),
    ("condition", "when"),
    ("value", "when"),
    ("op", "operator"),
    ("onerror", "on_failure"),
    ("retries", "retry_on_failure"),
    ("retry", "retry_policy"),
    ("maxretries", "retry_on_failure"),
    ("conditions", "valid_conditions"),
    ("steps", "tasks"),
    ("nodes", "tasks"),
    ("name", "id"),
    ("schema", "output_schema"),
    ("input", "input_var"),
    ("fallback", "fallback_models"),
    ("fallbacks", "fallback_models"),
    ("labels", "require"),
    ("requires", "require"),
    ("requirelabels", "require"),
    ("requiredlabels", "require"),
    ("pools", "pool"),
    ("poolid", "pool"),
    ("arguments", "args"),
    ("params", "args"),
];

/// An object of the language: the names of the fields that lead to it from the chain.
struct Home {
    path: Vec<&'static str>,
    /// Canonical names and what their spellings have in common.
    fields: Vec<(&'static str, &'static str)>,
}

static HOMES: LazyLock<Vec<Home>> = LazyLock::new(|| {
    let mut homes = Vec::new();
    collect(shape::chain(), &mut Vec::new(), &mut homes);
    homes
});

fn collect(shape: &'static Shape, path: &mut Vec<&'static str>, homes: &mut Vec<Home>) {
    match shape {
        Shape::Fields(fields) => {
            let names = fields.iter().map(|field| (field.name.as_str(), field.folded.as_str())).collect();
            homes.push(Home { path: path.clone(), fields: names });
            for field in fields {
                path.push(&field.name);
                collect(&field.shape, path, homes);
                path.pop();
            }
        }
        Shape::List(of) => collect(of, path, homes),
        Shape::OneOf(choices) => choices.iter().for_each(|choice| collect(choice, path, homes)),
        _ => {}
    }
}

/// What to do about a field that is not known in the object at `path`. `path`: canonical names without indices.
pub(super) fn hint(name: &str, path: &[String], known: &[&str]) -> Option<String> {
    let wanted = folded(name);
    let meant = SYNONYMS.iter().find(|(synonym, _)| *synonym == wanted).map(|(_, meant)| *meant);
    if let Some(meant) = meant.filter(|meant| known.contains(meant)) {
        return Some(format!("did you mean '{meant}'?"));
    }
    let elsewhere = |name: &str| nearest(&folded(name), path);
    let alike = || suggest::did_you_mean(name, known.iter().copied());
    let all = || HOMES.iter().flat_map(|home| home.fields.iter().map(|(name, _)| *name));
    elsewhere(name).or_else(|| elsewhere(meant?)).or_else(alike).or_else(|| elsewhere(suggest::closest(name, all())?))
}

/// The nearest objects that have the field, in words.
fn nearest(wanted: &str, path: &[String]) -> Option<String> {
    let away = |home: &Home| {
        let shared = home.path.iter().zip(path).take_while(|(one, other)| *one == other).count();
        (home.path.len() - shared) + (path.len() - shared)
    };
    let has = |home: &&Home| home.fields.iter().any(|(_, folded)| *folded == wanted);
    let homes: Vec<(usize, &Home)> = HOMES.iter().filter(has).map(|home| (away(home), home)).collect();
    let least = homes.iter().map(|(away, _)| *away).min()?;
    // Far away it is another thing of the same name.
    if least > 3 || least == 0 {
        return None;
    }
    let field = homes.iter().flat_map(|(_, home)| &home.fields).find(|(_, folded)| *folded == wanted)?.0;
    let mut places: Vec<String> =
        homes.iter().filter(|(away, _)| *away == least).map(|(_, home)| named(&home.path)).collect();
    places.sort();
    places.dedup();
    Some(format!("'{field}' belongs into {}", places.join(" or ")))
}

fn named(path: &[&str]) -> String {
    match path.last() {
        None => "the chain itself, beside 'tasks'".to_owned(),
        Some(&"tasks") => "the task itself, beside 'handler'".to_owned(),
        Some(list @ (&"branches" | &"catch" | &"fallback_models")) => format!("an entry of '{list}'"),
        Some(object) => format!("'{object}'"),
    }
}
