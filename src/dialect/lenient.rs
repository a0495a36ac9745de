//! Members of a reply that help and are not needed, such as counts of tokens: one of another type than it should be is as
//! good as none, and no reason to lose the reply around it.

use serde::{Deserialize, Deserializer, de::IgnoredAny};

#[derive(Deserialize)]
#[serde(untagged)]
enum Told<T> {
    Known(T),
    Other(IgnoredAny),
}

/// The value, if it is of its type. For `#[serde(default, deserialize_with = "lenient::member")]`.
pub(super) fn member<'de, D, T>(decoder: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(match Option::<Told<T>>::deserialize(decoder)? {
        Some(Told::Known(value)) => Some(value),
        Some(Told::Other(_)) | None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::json;

    #[test]
    fn a_member_of_another_type_is_none_and_what_stands_around_it_is_read() {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default, deserialize_with = "member")]
            count: Option<u64>,
            text: String,
        }
        for (count, read) in [("7", Some(7)), ("null", None), ("-1", None), ("\"7\"", None), ("[{}]", None)] {
            let body: Body = json::decode(format!("{{\"count\":{count},\"text\":\"a\"}}").as_bytes()).unwrap();
            assert_eq!((body.count, body.text.as_str()), (read, "a"), "{count}");
        }
        assert_eq!(json::decode::<Body>(br#"{"text":"a"}"#).unwrap().count, None);
    }
}
