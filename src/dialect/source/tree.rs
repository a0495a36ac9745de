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
    pub(super) fn duplicates(&self, most: usize) -> Vec<(String, Range<usize>)> {
        let mut found = Vec::new();
        let Some(root) = self.root else { return found };
        let mut open = vec![(root, String::new())];
        while let Some((id, pointer)) = open.pop() {
            if found.len() >= most {
                break;
            }
            let child = |step: &str| format!("{pointer}/{}", step.replace('~', "~0").replace('/', "~1"));
            match self.nodes.get(id).map(|node| &node.content) {
                Some(Content::List(items)) => {
                    open.extend(items.iter().enumerate().map(|(at, item)| (*item, child(&at.to_string()))));
                }
                Some(Content::Map(members)) => {
                    for member in &members.all {
                        if members.get(&member.name).is_some_and(|last| last.key != member.key) {
                            found.push((child(&member.name), member.key.clone()));
                        } else {
                            open.push((member.value, child(&member.name)));
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }
}
