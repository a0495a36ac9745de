//! The tree of a YAML text.

use std::{collections::HashMap, ops::Range};

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::tree::{Content, Members, NodeId, Tree};

/// What a mapping calls the mappings it takes further members from.
const MERGE: &str = "<<";

/// The tree of a text that our own reader takes; `None` for others. Aliases are references here, so a text that would
/// unfold to a large value has a small tree.
pub(super) fn tree(text: &str) -> Option<Tree> {
    let mut build = Build::default();
    for event in Parser::new_from_str_with_options(text, granit_parser::options! { emit_comments: false }) {
        let (event, span) = event.ok()?;
        build.event(event, bytes(&span)?)?;
    }
    Some(build.tree)
}

fn bytes(span: &Span) -> Option<Range<usize>> {
    let (start, end) = (span.start.byte_offset()?, span.end.byte_offset()?);
    Some(start..end.max(start))
}

#[derive(Default)]
struct Build {
    tree: Tree,
    open: Vec<Open>,
    anchors: HashMap<usize, NodeId>,
}

/// A collection whose end has not come.
struct Open {
    id: NodeId,
    kind: Kind,
    /// Where its last child ended; a block collection has no closing mark of its own.
    end: usize,
}

enum Kind {
    List(Vec<NodeId>),
    /// The members, and the key whose value comes next.
    Map(Members, Option<Key>),
}

struct Key {
    name: String,
    span: Range<usize>,
    is_merge: bool,
}

impl Build {
    fn event(&mut self, event: Event<'_>, span: Range<usize>) -> Option<()> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let is_merge = style == ScalarStyle::Plain && text == MERGE;
                let end = span.end;
                if let Some(Open { kind: Kind::Map(_, key @ None), .. }) = self.open.last_mut() {
                    *key = Some(Key { name: text.into_owned(), span: span.clone(), is_merge });
                    // A key may be an anchor's node, too.
                    let id = self.tree.add(span, Content::Scalar);
                    self.anchor(anchor, id);
                    return Some(());
                }
                let id = self.tree.add(span, Content::Scalar);
                self.anchor(anchor, id);
                self.placed(id, end);
            }
            Event::Alias(anchor) => {
                let target = *self.anchors.get(&anchor)?;
                // A key that is an alias has no name here; the document's reader knows it, its place is lost.
                if let Some(Open { kind: Kind::Map(_, key @ None), .. }) = self.open.last_mut() {
                    *key = Some(Key { name: String::new(), span, is_merge: false });
                    return Some(());
                }
                let end = span.end;
                let id = self.tree.add(span, Content::Alias(target));
                self.placed(id, end);
            }
            Event::SequenceStart(_, anchor, _) => self.begin(span, anchor, Kind::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.begin(span, anchor, Kind::Map(Members::default(), None)),
            Event::SequenceEnd | Event::MappingEnd => {
                let Open { id, kind, end } = self.open.pop()?;
                // The end of a block collection is reported where the next thing begins.
                let end = if span.is_empty() { end } else { span.end };
                let content = match kind {
                    Kind::List(items) => Content::List(items),
                    Kind::Map(members, _) => Content::Map(members),
                };
                self.tree.close(id, end, content);
                self.placed(id, end);
            }
            _ => {}
        }
        Some(())
    }

    fn begin(&mut self, span: Range<usize>, anchor: usize, kind: Kind) {
        let end = span.end;
        let id = self.tree.add(span, Content::Scalar);
        self.anchor(anchor, id);
        self.open.push(Open { id, kind, end });
    }

    fn anchor(&mut self, anchor: usize, id: NodeId) {
        if anchor > 0 {
            self.anchors.insert(anchor, id);
        }
    }

    /// Gives a finished node to the collection it stands in.
    fn placed(&mut self, id: NodeId, end: usize) {
        let Some(parent) = self.open.last_mut() else {
            self.tree.root.get_or_insert(id);
            return;
        };
        parent.end = parent.end.max(end);
        match &mut parent.kind {
            Kind::List(items) => items.push(id),
            Kind::Map(members, key) => match key.take() {
                Some(key) if key.is_merge => members.merge(id),
                Some(key) => members.add(key.name, key.span, id),
                // A collection as a key, which no reader of ours takes.
                None => *key = Some(Key { name: String::new(), span: end..end, is_merge: false }),
            },
        }
    }
}
