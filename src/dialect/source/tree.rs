//! The places of all values and keys of a document, looked up by JSON Pointer.

use std::{collections::HashMap, ops::Range};

/// Aliases that are followed for one step of a pointer. An alias cannot lead to an alias, so this is only a stop.
const MOST_HOPS: usize = 8;
/// Mappings with more members than this are looked up by an index.
const SEARCHED: usize = 24;

/// A place in [`Tree`].
pub(super) type NodeId = usize;

/// All nodes; the root is given when it is built.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    pub(super) root: Option<NodeId>,
}

#[derive(Debug)]
struct Node {
    /// Bytes of the text.
    span: Range<usize>,
    content: Content,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Content {
    Scalar,
    List(Vec<NodeId>),
    Map(Members),
    /// Stands for another node.
    Alias(NodeId),
}

/// The members of a mapping, in order.
#[derive(Debug, Default)]
pub(super) struct Members {
    all: Vec<Member>,
    /// The last member of each name, for large mappings.
    index: HashMap<String, usize>,
    /// Mappings (or lists of them) whose members count where the mapping has none of that name: YAML's `<<`.
    merged: Vec<NodeId>,
}

#[derive(Debug)]
struct Member {
    name: String,
    key: Range<usize>,
    value: NodeId,
}

/// Where something stands: bytes of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The key, for a member of a mapping.
    pub(super) key: Option<Range<usize>>,
    /// The value.
    pub(super) value: Range<usize>,
}

impl Members {
    /// Adds a member; of two with one name the last counts.
    pub(super) fn add(&mut self, name: String, key: Range<usize>, value: NodeId) {
        self.all.push(Member { name, key, value });
        if self.all.len() == SEARCHED + 1 {
            self.index = self.all.iter().enumerate().map(|(at, member)| (member.name.clone(), at)).collect();
        } else if self.all.len() > SEARCHED {
            let at = self.all.len() - 1;
            self.index.insert(self.all[at].name.clone(), at);
        }
    }

    /// Adds what `<<` names.
    pub(super) fn merge(&mut self, node: NodeId) {
        self.merged.push(node);
    }

    fn get(&self, name: &str) -> Option<&Member> {
        if self.all.len() > SEARCHED {
            self.index.get(name).and_then(|at| self.all.get(*at))
        } else {
            self.all.iter().rev().find(|member| member.name == name)
        }
    }
}

impl Tree {
    /// Adds a node.
    pub(super) fn add(&mut self, span: Range<usize>, content: Content) -> NodeId {
        self.nodes.push(Node { span, content });
        self.nodes.len() - 1
    }

    /// Fills a node that was added when it began.
    pub(super) fn close(&mut self, id: NodeId, end: usize, content: Content) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.span.end = end.max(node.span.start);
            node.content = content;
        }
    }

    /// The place that a JSON Pointer names.
    pub(super) fn find(&self, pointer: &str) -> Option<Found> {
        let mut at = self.root?;
        let mut key = None;
        let mut steps = pointer.split('/');
        if !steps.next()?.is_empty() {
            return None;
        }
        for step in steps {
            let step = step.replace("~1", "/").replace("~0", "~");
            (key, at) = self.step(self.target(at)?, &step)?;
        }
        Some(Found { key, value: self.nodes.get(at)?.span.clone() })
    }

    fn step(&self, node: &Node, step: &str) -> Option<(Option<Range<usize>>, NodeId)> {
        match &node.content {
            Content::List(items) => Some((None, *items.get(step.parse::<usize>().ok()?)?)),
            Content::Map(members) => {
                let member = members.get(step).or_else(|| self.merged(members, step))?;
                Some((Some(member.key.clone()), member.value))
            }
            Content::Scalar | Content::Alias(_) => None,
        }
    }

    /// The member that `<<` brings in; one level of it, deeper ones are rare and only lose their place.
    fn merged<'a>(&'a self, members: &'a Members, name: &str) -> Option<&'a Member> {
        let of = |id: NodeId| match &self.target(id)?.content {
            Content::Map(members) => members.get(name),
            _ => None,
        };
        members.merged.iter().find_map(|id| match &self.target(*id)?.content {
            Content::List(items) => items.iter().find_map(|item| of(*item)),
            _ => of(*id),
        })
    }

    fn target(&self, mut at: NodeId) -> Option<&Node> {
        for _ in 0..MOST_HOPS {
            match self.nodes.get(at)? {
                Node { content: Content::Alias(of), .. } => at = *of,
                node => return Some(node),
            }
        }
        None
    }

    /// Keys that stand twice in one mapping, with the pointer of the mapping's path: the place of each earlier one.
    ///
    /// Pointers are put together only of what is found: a long name would be in those of all that it holds.
    pub(super) fn duplicates(&self, most: usize) -> Vec<(String, Range<usize>)> {
        let mut found = Vec::new();
        let Some(root) = self.root else { return found };
        // Each node that was come to: in which it is, and its step there.
        let mut ways: Vec<(usize, Step<'_>)> = vec![(0, Step::Item(0))];
        let mut open = vec![(root, 0)];
        while let Some((id, way)) = open.pop() {
            if found.len() >= most {
                break;
            }
            match self.nodes.get(id).map(|node| &node.content) {
                Some(Content::List(items)) => {
                    for (at, item) in items.iter().enumerate() {
                        ways.push((way, Step::Item(at)));
                        open.push((*item, ways.len() - 1));
                    }
                }
                Some(Content::Map(members)) => {
                    for member in &members.all {
                        ways.push((way, Step::Member(&member.name)));
                        if members.get(&member.name).is_none_or(|last| last.key == member.key) {
                            open.push((member.value, ways.len() - 1));
                        } else if found.len() < most
                            && let Some(pointer) = pointer(&ways, ways.len() - 1)
                        {
                            found.push((pointer, member.key.clone()));
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// One step of a way from the root.
enum Step<'a> {
    Item(usize),
    Member(&'a str),
}

/// The pointer to a node; `None` where it is too long to be told.
fn pointer(ways: &[(usize, Step<'_>)], mut at: usize) -> Option<String> {
    const LONGEST: usize = 4 * 1024;
    let (mut steps, mut length) = (Vec::new(), 0);
    while at > 0 {
        let (parent, step) = ways.get(at)?;
        let step = match step {
            Step::Item(nth) => nth.to_string(),
            Step::Member(name) if name.len() > LONGEST => return None,
            Step::Member(name) => name.replace('~', "~0").replace('/', "~1"),
        };
        length += step.len() + 1;
        if length > LONGEST {
            return None;
        }
        steps.push(step);
        at = *parent;
    }
    Some(steps.iter().rev().map(|step| format!("/{step}")).collect())
}
