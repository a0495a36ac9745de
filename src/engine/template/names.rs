//! Which variables a template reads, for those who check chains. What cannot be told for certain is left out: inside
//! `range` and `with` a field belongs to something else, and what a `define` is given is known only where it is called.

use gotmpl::parse::{CommandNode, Expr, ListNode, Node, PipeNode};

/// A variable that a template reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameRead {
    /// Its name.
    pub(crate) name: String,
    /// Whether the template asks first if it is there.
    pub(crate) is_asked_for: bool,
}

/// The variables of a template; none of one that cannot be parsed.
pub(crate) fn variables(source: &str) -> Vec<NameRead> {
    if super::is_too_deep(source) {
        return Vec::new();
    }
    let Ok(parsed) = gotmpl::Template::new(super::MAIN).parse(source) else { return Vec::new() };
    let Some(tree) = parsed.lookup(super::MAIN) else { return Vec::new() };
    let mut reader = Reader { found: Vec::new(), asked: Vec::new() };
    reader.list(tree, true);
    reader.found
}

struct Reader {
    found: Vec<NameRead>,
    /// Names that conditions around the current node ask for.
    asked: Vec<String>,
}

impl Reader {
    /// `is_root`: whether dot is the variables.
    fn list(&mut self, list: &ListNode, is_root: bool) {
        for node in &list.nodes {
            match node {
                Node::List(nodes) => self.list(nodes, is_root),
                Node::Action(action) => self.pipe(&action.pipe, is_root, false),
                Node::If(branch) => {
                    let known = self.asked_by(&branch.pipe, is_root);
                    self.list(&branch.body, is_root);
                    // `{{if not .x}}` has the use in the other branch.
                    if let Some(body) = &branch.else_body {
                        self.list(body, is_root);
                    }
                    self.asked.truncate(known);
                }
                Node::With(branch) | Node::Range(branch) => {
                    let known = self.asked_by(&branch.pipe, is_root);
                    self.list(&branch.body, false);
                    if let Some(body) = &branch.else_body {
                        self.list(body, is_root);
                    }
                    self.asked.truncate(known);
                }
                Node::Template(called) => {
                    if let Some(pipe) = &called.pipe {
                        self.pipe(pipe, is_root, false);
                    }
                }
                Node::Text(_) | Node::Define(_) | Node::Break(_) | Node::Continue(_) => {}
            }
        }
    }

    /// Reads a condition; what it names is asked for from here on. Gives how many names were before.
    fn asked_by(&mut self, pipe: &PipeNode, is_root: bool) -> usize {
        let (known, before) = (self.asked.len(), self.found.len());
        self.pipe(pipe, is_root, true);
        self.asked.extend(self.found[before..].iter().map(|read| read.name.clone()));
        known
    }

    fn pipe(&mut self, pipe: &PipeNode, is_root: bool, is_asked_for: bool) {
        for command in &pipe.commands {
            self.command(command, is_root, is_asked_for);
        }
    }

    fn command(&mut self, command: &CommandNode, is_root: bool, is_asked_for: bool) {
        let called = match command.args.first() {
            Some(Expr::Identifier(_, name)) => name.as_str(),
            _ => "",
        };
        // `or .a "default"` and `and .a .b` ask, too.
        let is_asked_for = is_asked_for || matches!(called, "or" | "and" | "not");
        if let ("index", [_, of, Expr::String(_, name), ..]) = (called, command.args.as_slice()) {
            let is_of_root = match of {
                Expr::Dot(_) => is_root,
                Expr::Variable(_, name, fields) => name == "$" && fields.is_empty(),
                _ => false,
            };
            if is_of_root {
                self.read(name, is_asked_for);
            }
        }
        for argument in &command.args {
            self.expr(argument, is_root, is_asked_for);
        }
    }

    fn expr(&mut self, expr: &Expr, is_root: bool, is_asked_for: bool) {
        match expr {
            Expr::Field(_, fields) if is_root => {
                fields.first().into_iter().for_each(|name| self.read(name, is_asked_for));
            }
            Expr::Variable(_, name, fields) if name == "$" => {
                fields.first().into_iter().for_each(|name| self.read(name, is_asked_for));
            }
            Expr::Pipe(_, pipe) => self.pipe(pipe, is_root, is_asked_for),
            Expr::Chain(_, inner, _) => self.expr(inner, is_root, is_asked_for),
            _ => {}
        }
    }

    fn read(&mut self, name: &str, is_asked_for: bool) {
        // Where one variable is there, others are, that were set with it or before.
        let is_asked_for = is_asked_for || !self.asked.is_empty();
        self.found.push(NameRead { name: name.to_owned(), is_asked_for });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_the_top_are_read_and_fields_of_other_things_are_not() {
        for (source, expected) in [
            ("{{.input}} and {{ .a.b }}", vec!["input", "a"]),
            ("{{index . \"my-task\"}}{{index $ \"x\" \"y\"}}{{index .list 0}}", vec!["my-task", "x", "list"]),
            ("{{range .items}}{{.name}}{{$.outer}}{{else}}{{.none}}{{end}}", vec!["items", "outer", "none"]),
            ("{{with .a}}{{.b}}{{end}}{{printf \"%s\" (len .c | print)}}", vec!["a", "c"]),
            ("{{$x := .a}}{{$x.b}}{{if eq .c \"1\"}}{{.d}}{{else if .e}}{{.f}}{{end}}", vec!["a", "c", "d", "e", "f"]),
            ("{{define \"t\"}}{{.in}}{{end}}{{template \"t\" .a}}", vec!["a"]),
            ("{{.a", vec![]),
        ] {
            let names: Vec<String> = variables(source).into_iter().map(|read| read.name).collect();
            assert_eq!(names, expected, "{source}");
        }
    }

    #[test]
    fn a_condition_asks_for_what_it_names() {
        let asked = |source: &str| variables(source).into_iter().map(|read| read.is_asked_for).collect::<Vec<_>>();
        assert_eq!(asked("{{if .a}}{{.a}}{{.b}}{{end}}{{.a}}"), [true, true, true, false]);
        assert_eq!(asked("{{or .a \"x\"}}{{with .b}}{{$.b}}{{end}}"), [true, true, true]);
    }
}
