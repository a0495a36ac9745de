//! The tree of a JSON text.

use jsonc_parser::{CollectOptions, ParseOptions, ast::Value, common::Ranged};

use super::tree::{Content, Members, NodeId, Tree};

/// The tree of a text that our own reader takes; `None` for others. Its nesting is bounded by that reader.
pub(super) fn tree(text: &str) -> Option<Tree> {
    let parsed = jsonc_parser::parse_to_ast(text, &CollectOptions::default(), &strict()).ok()?;
    let mut tree = Tree::default();
    let root = add(&mut tree, parsed.value?);
    tree.root = Some(root);
    Some(tree)
}

fn add(tree: &mut Tree, value: Value<'_>) -> NodeId {
    let range = value.range();
    let span = range.start..range.end;
    let content = match value {
        Value::Object(object) => {
            let mut members = Members::default();
            for property in object.properties {
                let key = property.name.range();
                let value = add(tree, property.value);
                members.add(property.name.into_string(), key.start..key.end, value);
            }
            Content::Map(members)
        }
        Value::Array(array) => Content::List(array.elements.into_iter().map(|item| add(tree, item)).collect()),
        Value::StringLit(_) | Value::NumberLit(_) | Value::BooleanLit(_) | Value::NullKeyword(_) => Content::Scalar,
    };
    tree.add(span, content)
}

/// JSON and nothing but JSON.
const fn strict() -> ParseOptions {
    ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}
