//! What may stand where in a chain: the description of the structs that chains are read
//! into (the one that is published, too) in a form that is quick to walk. Built once.

use std::sync::LazyLock;

use serde_json::Value;

use crate::domain::{chain::Chain, spelling::folded};

/// Deeper than the language is; a schema that refers to itself would end here.
const MOST_NESTING: usize = 16;

/// What a value may be.
#[derive(Debug)]
pub(super) enum Shape {
    /// Whatever the author likes; never looked into.
    Any,
    Text,
    Flag,
    Number,
    /// A whole number from the first to the last.
    Whole(i128, i128),
    List(Box<Shape>),
    /// The keys are the author's.
    Map(Box<Shape>),
    Fields(Vec<Field>),
    OneOf(Vec<Shape>),
}

/// A field of the language.
#[derive(Debug)]
pub(super) struct Field {
    /// Its canonical spelling.
    pub(super) name: String,
    /// What all its spellings have in common.
    pub(super) folded: String,
    pub(super) shape: Shape,
}

static CHAIN: LazyLock<Shape> = LazyLock::new(read_as_chain);

static REQUEST: LazyLock<Shape> = LazyLock::new(|| {
    let field = |name: &str, shape| Field { name: name.to_owned(), folded: folded(name), shape };
    let chain = field("chain", read_as_chain());
    Shape::Fields(vec![field("input", Shape::Any), field("inputType", Shape::Text), chain])
});

fn read_as_chain() -> Shape {
    let schema = schemars::schema_for!(Chain).to_value();
    Shape::of(&schema, &schema, 0)
}

/// A chain.
pub(super) fn chain() -> &'static Shape {
    &CHAIN
}

/// The body of a request that runs a chain.
pub(super) fn request() -> &'static Shape {
    &REQUEST
}

impl Shape {
    fn of(schema: &Value, root: &Value, depth: usize) -> Self {
        if depth > MOST_NESTING {
            return Self::Any;
        }
        let of = |schema: &Value| Self::of(schema, root, depth + 1);
        if let Some(target) = schema["$ref"].as_str().and_then(|target| target.strip_prefix('#')) {
            return root.pointer(target).map_or(Self::Any, of);
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            let mut choices: Vec<Self> = choices.iter().filter(|choice| choice["type"] != "null").map(of).collect();
            return match choices.len() {
                1 => choices.remove(0),
                _ => Self::OneOf(choices),
            };
        }
        let kind = match &schema["type"] {
            // `null` is absent.
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
            kind => kind.as_str(),
        };
        match kind {
            Some("string") => Self::Text,
            Some("boolean") => Self::Flag,
            Some("number") => Self::Number,
            Some("integer") => {
                let (least, most) = match schema["format"].as_str() {
                    Some("uint32") => (0, u32::MAX.into()),
                    Some("uint64") => (0, u64::MAX.into()),
                    _ => (i64::MIN.into(), i64::MAX.into()),
                };
                Self::Whole(least, most)
            }
            Some("array") => Self::List(Box::new(of(&schema["items"]))),
            Some("object") => match (&schema["properties"], &schema["additionalProperties"]) {
                (Value::Object(fields), _) => {
                    let field = |(name, schema): (&String, &Value)| Field {
                        name: name.clone(),
                        folded: folded(name),
                        shape: of(schema),
                    };
                    Self::Fields(fields.iter().map(field).collect())
                }
                (_, values @ Value::Object(_)) => Self::Map(Box::new(of(values))),
                _ => Self::Any,
            },
            _ => Self::Any,
        }
    }

    /// Whether a value is of this kind, whatever is in it.
    pub(super) fn accepts(&self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Text => value.is_string(),
            Self::Flag => value.is_boolean(),
            Self::Number => value.is_number(),
            Self::Whole(least, most) => whole(value).is_some_and(|number| (*least..=*most).contains(&number)),
            Self::List(_) => value.is_array(),
            Self::Map(_) | Self::Fields(_) => value.is_object(),
            Self::OneOf(choices) => choices.iter().any(|choice| choice.accepts(value)),
        }
    }

    /// The one of several shapes that a value has.
    pub(super) fn chosen(&self, value: &Value) -> &Self {
        match self {
            Self::OneOf(choices) => choices.iter().find(|choice| choice.accepts(value)).unwrap_or(self),
            _ => self,
        }
    }

    /// In words, for `must be …`.
    pub(super) fn described(&self) -> String {
        match self {
            Self::Any => "anything".to_owned(),
            Self::Text => "a text".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Whole(0, _) => "a whole number, not below 0".to_owned(),
            Self::Whole(..) => "a whole number".to_owned(),
            Self::List(of) => match &**of {
                Self::Fields(_) | Self::Any => "a list".to_owned(),
                of => format!("a list, each entry {}", of.described()),
            },
            Self::Map(of) => format!("an object, each value {}", of.described()),
            Self::Fields(_) => "an object".to_owned(),
            Self::OneOf(choices) => choices.iter().map(Self::described).collect::<Vec<_>>().join(", or "),
        }
    }

    /// The fields of an object of the language; none for other shapes.
    pub(super) fn fields(&self) -> &[Field] {
        match self {
            Self::Fields(fields) => fields,
            Self::OneOf(choices) => choices.iter().map(Self::fields).find(|fields| !fields.is_empty()).unwrap_or(&[]),
            _ => &[],
        }
    }
}

fn whole(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
}

/// A value in words, for `it is …`.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
