//! Checks what a parsed template names, and makes it call our functions where Go's printing and look-up are not ours.
//!
//! - a value that is printed goes through [`SHOW`] (structures become JSON);
//! - `.a.b` becomes a call of [`FIELD`] (names match in any case);
//! - a value that is compared or measured goes through [`TEXT`] (of a failure, its message counts);
//! - a value that is kept, or given to a function, goes through [`BOUND`], a format through [`FORMAT`], and every body
//!   starts with an empty text: all are there so that rendering can be stopped.

use gotmpl::parse::{BranchNode, CommandNode, Expr, ListNode, Node, PipeNode, Pos, SmolStr, TextNode};

/// Functions of ours. No template can name them: a name has no blank.
pub(super) const SHOW: &str = "show value";
pub(super) const FIELD: &str = "field of";
pub(super) const BOUND: &str = "bound value";
pub(super) const FORMAT: &str = "format text";
pub(super) const TEXT: &str = "text value";

/// What a template may call.
const FUNCTIONS: [&str; 19] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print", "printf",
    "println", "slice", "urlquery",
];
/// Those that print what they are given.
const PRINTING: [&str; 6] = ["html", "js", "print", "printf", "println", "urlquery"];

/// Those that look at a text as such.
const READING: [&str; 8] = ["eq", "ge", "gt", "le", "len", "lt", "ne", "slice"];

/// Rewrites the body of one template; `templates` are all that are defined.
///
/// # Errors
/// When it names a function, a template or a variable that does not exist, or leaves a loop that is not there.
pub(super) fn rewrite(body: &mut ListNode, templates: &[String]) -> Result<(), String> {
    Rewriter { templates, variables: vec![SmolStr::new_static("$")], loops: 0 }.list(body)?;
    let step = TextNode { pos: body.pos, text: "".into() };
    body.nodes.insert(0, Node::Text(step));
    Ok(())
}

struct Rewriter<'a> {
    templates: &'a [String],
    /// Those in scope, the outermost first.
    variables: Vec<SmolStr>,
    /// Ranges around the current node.
    loops: usize,
}

impl Rewriter<'_> {
    fn list(&mut self, list: &mut ListNode) -> Result<(), String> {
        let outer = self.variables.len();
        list.nodes.iter_mut().try_for_each(|node| self.node(node))?;
        self.variables.truncate(outer);
        Ok(())
    }

    fn node(&mut self, node: &mut Node) -> Result<(), String> {
        match node {
            Node::List(nodes) => self.list(nodes),
            Node::Action(action) => {
                self.pipe(&mut action.pipe)?;
                let function = if action.pipe.decl.is_empty() { SHOW } else { BOUND };
                action.pipe.commands.push(call(action.pos, function, Vec::new()));
                Ok(())
            }
            Node::If(branch) | Node::With(branch) => self.branch(branch, 0),
            Node::Range(branch) => self.branch(branch, 1),
            Node::Template(invoked) => {
                if !self.templates.iter().any(|name| name == invoked.name.as_str()) {
                    return Err(format!("line {}: template \"{}\" is not defined", invoked.pos.line, invoked.name));
                }
                invoked.pipe.as_mut().map_or(Ok(()), |pipe| self.kept(pipe))
            }
            Node::Break(pos) | Node::Continue(pos) if self.loops == 0 => {
                Err(format!("line {}: {{{{break}}}} and {{{{continue}}}} need a {{{{range}}}} around them", pos.line))
            }
            // Definitions stand beside the tree and are rewritten there.
            Node::Define(_) | Node::Text(_) | Node::Break(_) | Node::Continue(_) => Ok(()),
        }
    }

    fn branch(&mut self, branch: &mut BranchNode, loops: usize) -> Result<(), String> {
        let outer = self.variables.len();
        self.kept(&mut branch.pipe)?;
        self.loops += loops;
        self.list(&mut branch.body)?;
        self.loops -= loops;
        if let Some(body) = &mut branch.else_body {
            self.list(body)?;
        }
        self.variables.truncate(outer);
        Ok(())
    }

    /// A pipeline whose value lives on, as dot or as a variable.
    fn kept(&mut self, pipe: &mut PipeNode) -> Result<(), String> {
        self.pipe(pipe)?;
        pipe.commands.push(call(pipe.pos, BOUND, Vec::new()));
        Ok(())
    }

    fn pipe(&mut self, pipe: &mut PipeNode) -> Result<(), String> {
        let mut commands = Vec::with_capacity(pipe.commands.len() + 1);
        for mut command in pipe.commands.drain(..) {
            let name = match command.args.first() {
                Some(Expr::Identifier(_, name)) => name.clone(),
                _ => SmolStr::default(),
            };
            let prints = PRINTING.contains(&name.as_str());
            let reads = READING.contains(&name.as_str());
            for (at, argument) in command.args.iter_mut().enumerate() {
                let is_kept = matches!(argument, Expr::Dot(_) | Expr::Variable(..));
                let is_read = reads && matches!(argument, Expr::Field(..) | Expr::Chain(..) | Expr::Pipe(..));
                self.expr(argument)?;
                if at > 0 && (prints || is_kept || is_read) {
                    let function = given_to(&name, at == 1);
                    let pos = argument.pos();
                    let value = std::mem::replace(argument, Expr::Nil(pos));
                    *argument = parenthesised(pos, call(pos, function, vec![value]));
                }
            }
            if (prints || reads) && !commands.is_empty() {
                commands.push(call(command.pos, given_to(&name, command.args.len() == 1), Vec::new()));
            }
            commands.push(command);
        }
        pipe.commands = commands;
        if pipe.is_assign {
            pipe.decl.iter().try_for_each(|name| self.known(name, pipe.pos))
        } else {
            self.variables.extend(pipe.decl.iter().cloned());
            Ok(())
        }
    }

    fn known(&self, variable: &SmolStr, pos: Pos) -> Result<(), String> {
        if self.variables.contains(variable) {
            Ok(())
        } else {
            Err(format!("line {}: variable \"{variable}\" is not defined", pos.line))
        }
    }

    fn expr(&mut self, expr: &mut Expr) -> Result<(), String> {
        match expr {
            Expr::Identifier(pos, name) if !FUNCTIONS.contains(&name.as_str()) => {
                Err(format!("line {}: function \"{name}\" is not defined", pos.line))
            }
            Expr::Field(pos, fields) => {
                *expr = look_up(*pos, Expr::Dot(*pos), fields);
                Ok(())
            }
            Expr::Variable(pos, name, fields) => {
                self.known(name, *pos)?;
                if !fields.is_empty() {
                    *expr = look_up(*pos, Expr::Variable(*pos, name.clone(), Vec::new()), fields);
                }
                Ok(())
            }
            Expr::Chain(pos, inner, fields) => {
                self.expr(inner)?;
                // `func.field`: the executor must see the call to make it.
                if !matches!(**inner, Expr::Identifier(..)) {
                    let inner = std::mem::replace(&mut **inner, Expr::Nil(*pos));
                    *expr = look_up(*pos, inner, fields);
                }
                Ok(())
            }
            Expr::Pipe(_, pipe) => self.pipe(pipe),
            _ => Ok(()),
        }
    }
}

/// What an argument of this function goes through.
fn given_to(function: &str, is_first: bool) -> &'static str {
    match function {
        "printf" if is_first => FORMAT,
        _ if PRINTING.contains(&function) => SHOW,
        _ if READING.contains(&function) => TEXT,
        _ => BOUND,
    }
}

fn look_up(pos: Pos, of: Expr, fields: &[SmolStr]) -> Expr {
    let names = fields.iter().map(|name| Expr::String(pos, name.as_str().into()));
    parenthesised(pos, call(pos, FIELD, std::iter::once(of).chain(names).collect()))
}

fn parenthesised(pos: Pos, command: CommandNode) -> Expr {
    Expr::Pipe(pos, PipeNode { pos, decl: Vec::new(), commands: vec![command], is_assign: false })
}

fn call(pos: Pos, function: &'static str, mut args: Vec<Expr>) -> CommandNode {
    args.insert(0, Expr::Identifier(pos, SmolStr::new_static(function)));
    CommandNode { pos, args }
}
