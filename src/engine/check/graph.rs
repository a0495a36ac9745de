//! Lints of the ways through a chain: tasks that nothing leads to, and loops.
//!
//! A loop that a branch can leave is how retries and refinements are written, so it is left in peace. What is told: a part
//! of the chain from which no way leads to the end, and a loop that only a failure leaves, where no `max_visits` bounds it.

use std::collections::HashSet;

use super::outline::{By, Outline, hinted};
use crate::domain::{
    failure::FailureClass,
    finding::{Code, Finding},
};

/// Names of tasks in one message.
const MOST_NAMED: usize = 5;

/// All of them. `alive`: of each task which of its exits are ever taken.
pub(super) fn lint(outline: &Outline<'_>, alive: &[Vec<bool>]) -> Vec<Finding> {
    let reached = outline.reached();
    let mut found: Vec<Finding> = (0..outline.nodes.len())
        .filter(|at| !reached[*at])
        .map(|at| {
            let message = "no way leads to the task: no goto, catch or on_failure of a task that is reached names it";
            hinted(
                outline.warning(at, Code::UnreachableTask, "", message.to_owned()),
                "name it in a branch, or remove it",
            )
        })
        .collect();
    let ways = ways(outline, alive);
    let ends = to_the_end(outline, alive, &ways);
    for knot in knots(&ways).into_iter().filter(|knot| knot.iter().all(|at| reached[*at])) {
        let knot: HashSet<usize> = knot.into_iter().collect();
        found.extend(trap(outline, &knot, &ways, &ends).or_else(|| bounded_by_failure(outline, &knot, alive)));
    }
    found
}

/// Of each task the tasks it may lead to.
fn ways(outline: &Outline<'_>, alive: &[Vec<bool>]) -> Vec<Vec<usize>> {
    let of = |(node, alive): (&super::outline::Node<'_>, &Vec<bool>)| {
        node.exits.iter().zip(alive).filter(|(_, alive)| **alive).filter_map(|(exit, _)| exit.to).collect()
    };
    outline.nodes.iter().zip(alive).map(of).collect()
}

/// Tasks from which some way leads to the end.
fn to_the_end(outline: &Outline<'_>, alive: &[Vec<bool>], ways: &[Vec<usize>]) -> Vec<bool> {
    let mut back: Vec<Vec<usize>> = vec![Vec::new(); ways.len()];
    for (from, targets) in ways.iter().enumerate() {
        targets.iter().for_each(|to| back[*to].push(from));
    }
    let ends = |at: &usize| {
        let node = &outline.nodes[*at];
        // What cannot be read may lead anywhere.
        node.handler.is_none() || node.exits.iter().zip(&alive[*at]).any(|(exit, alive)| *alive && exit.to.is_none())
    };
    let mut open: Vec<usize> = (0..ways.len()).filter(ends).collect();
    let mut reaches = vec![false; ways.len()];
    while let Some(at) = open.pop() {
        if !std::mem::replace(&mut reaches[at], true) {
            open.extend(&back[at]);
        }
    }
    reaches
}

/// A loop that nothing leaves.
fn trap(outline: &Outline<'_>, knot: &HashSet<usize>, ways: &[Vec<usize>], ends: &[bool]) -> Option<Finding> {
    let is_left = knot.iter().any(|at| ends[*at] || ways[*at].iter().any(|to| !knot.contains(to)));
    if is_left {
        return None;
    }
    let first = *knot.iter().min()?;
    let message = format!("no way leads from here to the end of the run: {}", named(outline, knot));
    let finding = outline.warning(first, Code::NoPathToEnd, "transition", message);
    Some(hinted(finding, "let a branch of one of them go to 'end' or to a task outside"))
}

/// A loop that only failures leave.
fn bounded_by_failure(outline: &Outline<'_>, knot: &HashSet<usize>, alive: &[Vec<bool>]) -> Option<Finding> {
    // A bound that only leads back into the loop is none.
    let is_bounded = |at: &usize| {
        let task = outline.nodes[*at].task;
        let back = outline.caught(task, FailureClass::MaxVisits).is_some_and(|to| knot.contains(&to));
        task.max_visits > 0 && !back
    };
    let leaves = |at: &usize| {
        let exits = outline.nodes[*at].exits.iter().zip(&alive[*at]);
        let is_out = |to: Option<usize>| to.is_none_or(|to| !knot.contains(&to));
        exits.filter(|(_, alive)| **alive).any(|(exit, _)| exit.by != By::Failure && is_out(exit.to))
    };
    let has_unread = knot.iter().any(|at| outline.nodes[*at].handler.is_none());
    if has_unread || knot.iter().any(is_bounded) || knot.iter().any(leaves) {
        return None;
    }
    let first = *knot.iter().min()?;
    let message = format!("only a failure or the run's limit of steps ends this loop: {}", named(outline, knot));
    let finding = outline.warning(first, Code::UnboundedCycle, "transition", message);
    Some(hinted(
        finding,
        "set max_visits on one of them and let that failure lead out of the loop, or add a branch that leaves it",
    ))
}

fn named(outline: &Outline<'_>, knot: &HashSet<usize>) -> String {
    let mut places: Vec<usize> = knot.iter().copied().collect();
    places.sort_unstable();
    let names: Vec<&str> = places.iter().take(MOST_NAMED).map(|at| outline.nodes[*at].task.id.as_str()).collect();
    let more = if places.len() > MOST_NAMED { ", …" } else { "" };
    format!("{}{more}", names.join(", "))
}

/// Tasks that lead to each other, or to themselves: the strongly connected parts, found by Tarjan's algorithm (Depth-first
/// search and linear graph algorithms, 1972) without recursion, because a chain may be long.
fn knots(ways: &[Vec<usize>]) -> Vec<Vec<usize>> {
    const UNSEEN: usize = usize::MAX;
    let count = ways.len();
    let (mut index, mut low, mut on_stack) = (vec![UNSEEN; count], vec![0; count], vec![false; count]);
    let (mut stack, mut found, mut next) = (Vec::new(), Vec::new(), 0);
    for root in 0..count {
        if index[root] != UNSEEN {
            continue;
        }
        let mut path = vec![(root, 0)];
        while let Some((at, way)) = path.pop() {
            if way == 0 {
                (index[at], low[at], on_stack[at]) = (next, next, true);
                next += 1;
                stack.push(at);
            } else {
                let child = ways[at][way - 1];
                if on_stack[child] {
                    low[at] = low[at].min(low[child]);
                }
            }
            // The next neighbour that was not seen; those on the stack count by their index.
            let mut way = way;
            let mut descended = false;
            while let Some(to) = ways[at].get(way) {
                way += 1;
                if index[*to] == UNSEEN {
                    path.push((at, way));
                    path.push((*to, 0));
                    descended = true;
                    break;
                } else if on_stack[*to] {
                    low[at] = low[at].min(index[*to]);
                }
            }
            if !descended && low[at] == index[at] {
                let mut knot = Vec::new();
                while let Some(top) = stack.pop() {
                    on_stack[top] = false;
                    knot.push(top);
                    if top == at {
                        break;
                    }
                }
                if knot.len() > 1 || ways[at].contains(&at) {
                    found.push(knot);
                }
            }
        }
    }
    found
}
