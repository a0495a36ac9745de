//! Reading the fields of a chain that accept more than one JSON type.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

use super::{Condition, FallbackModel};
use crate::domain::value::number_text;

/// A text that may be written as a number or a boolean.
pub(super) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Text::deserialize(deserializer).map(|text| text.0)
}

/// A map of such texts; its keys stay as written.
pub(super) fn text_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct TextMap;

    impl<'de> Visitor<'de> for TextMap {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of texts")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut texts = BTreeMap::new();
            while let Some((key, Text(value))) = map.next_entry::<String, Text>()? {
                texts.insert(key, value);
            }
            Ok(texts)
        }
    }

    deserializer.deserialize_any(TextMap)
}

/// The allowed replies of a task: a map of text to boolean, or a list of texts.
pub(super) fn conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Condition>, D::Error> {
    struct Conditions;

    impl<'de> Visitor<'de> for Conditions {
        type Value = Vec<Condition>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of texts to booleans or a list of texts")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut read = Listed::default();
            while let Some((key, flag)) = map.next_entry()? {
                read.add(key, flag);
            }
            Ok(read.conditions)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut read = Listed::default();
            while let Some(Text(key)) = items.next_element()? {
                read.add(key, true);
            }
            Ok(read.conditions)
        }
    }

    deserializer.deserialize_any(Conditions)
}

/// Conditions in the order of their first mention; the last mention's flag counts.
#[derive(Default)]
struct Listed {
    conditions: Vec<Condition>,
    places: HashMap<String, usize>,
}

impl Listed {
    fn add(&mut self, key: String, flag: bool) {
        match self.places.get(&key).and_then(|place| self.conditions.get_mut(*place)) {
            Some(again) => again.flag = flag,
            None => {
                self.places.insert(key.clone(), self.conditions.len());
                self.conditions.push(Condition { key, flag });
            }
        }
    }
}

struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number or a boolean")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Text, E> {
        Ok(Text(text))
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Text, E> {
        Ok(Text(flag.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Text, E> {
        Ok(Text(number_text(number)))
    }
}

impl<'de> Deserialize<'de> for FallbackModel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Model;

        impl<'de> Visitor<'de> for Model {
            type Value = FallbackModel;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a model, or an object with model and provider")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<FallbackModel, E> {
                Ok(FallbackModel { model: name.to_owned(), provider: String::new() })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FallbackModel, A::Error> {
                let mut read = FallbackModel::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.to_ascii_lowercase().as_str() {
                        "model" => read.model = map.next_value::<Option<String>>()?.unwrap_or_default(),
                        "provider" => read.provider = map.next_value::<Option<String>>()?.unwrap_or_default(),
                        _ => {
                            map.next_value::<de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(read)
            }
        }

        deserializer.deserialize_any(Model)
    }
}

/// What [`text`] accepts.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "stands for what is read, in the published schema only")]
pub(super) enum TextSchema {
    Text(String),
    Number(f64),
    Flag(bool),
}

/// What [`conditions`] accepts.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "stands for what is read, in the published schema only")]
pub(super) enum ConditionsSchema {
    Flags(BTreeMap<String, bool>),
    Listed(Vec<TextSchema>),
}

/// What a [`FallbackModel`] is read from.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "stands for what is read, in the published schema only")]
pub(super) enum FallbackModelSchema {
    Name(String),
    Full { model: String, provider: Option<String> },
}
