//! Whatever readers and the writer do in whatever order: everybody reads one and the same stream.

use proptest::prelude::*;

use super::*;

const MOST: usize = 20;
const HEAVIEST: usize = 9;

#[derive(Debug, Clone)]
enum Deed {
    Join,
    Read(usize),
    Leave(usize),
    Write(usize),
    CutOff,
    End,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => Just(Deed::Join),
        20 => (0usize..6).prop_map(Deed::Read),
        2 => (0usize..6).prop_map(Deed::Leave),
        20 => (1..=HEAVIEST).prop_map(Deed::Write),
        1 => Just(Deed::CutOff),
        1 => Just(Deed::End),
    ]
}

/// A reader as it should be.
struct Model {
    id: usize,
    read: u64,
    is_over: bool,
    is_cut_off: bool,
}

fn read(window: &mut Window<u64, &'static str>, model: &mut Model, written: u64, has_ended: bool) -> bool {
    let (next, wakes) = window.next(model.id);
    match next {
        Next::Piece(piece) => {
            assert_eq!(piece, model.read, "in order, and from the beginning");
            assert!(!model.is_over && !model.is_cut_off);
            model.read += 1;
        }
        Next::Nothing => assert!(model.read == written && !has_ended),
        Next::Over(end) => {
            assert_eq!((end, model.read), ("end", written));
            model.is_over = true;
        }
        Next::CutOff => model.is_cut_off = true,
    }
    wakes
}

proptest! {
    #[test]
    fn everybody_reads_all_from_the_beginning_within_the_bound(deeds in prop::collection::vec(deed(), 1..200)) {
        let mut window = Window::new(MOST);
        let (mut models, mut written, mut has_ended, mut was_deserted) = (Vec::<Model>::new(), 0, false, false);
        let mut paused = None;
        for deed in deeds {
            let mut may_have_changed = false;
            match deed {
                Deed::Join => {
                    if let Some(id) = window.join() {
                        prop_assert!(!was_deserted && !has_ended);
                        prop_assert!(models.iter().all(|model| model.id != id));
                        models.push(Model { id, read: 0, is_over: false, is_cut_off: false });
                        may_have_changed = true;
                    }
                }
                Deed::Read(at) if !models.is_empty() => {
                    let at = at % models.len();
                    may_have_changed = read(&mut window, &mut models[at], written, has_ended);
                }
                Deed::Leave(at) if !models.is_empty() => {
                    let model = models.swap_remove(at % models.len());
                    window.leave(model.id);
                    was_deserted |= models.iter().all(|model| window.is_cut_off(model.id));
                    may_have_changed = true;
                }
                Deed::Write(weight) if !has_ended && window.turn() == Turn::Write => {
                    window.write(written, weight);
                    written += 1;
                    may_have_changed = true;
                }
                Deed::CutOff if window.turn() == Turn::Blocked => {
                    let before = models.iter().filter(|model| window.is_cut_off(model.id)).count();
                    window.cut_off_slowest();
                    let after = models.iter().filter(|model| window.is_cut_off(model.id)).count();
                    prop_assert!(before < after, "somebody holds the room");
                    prop_assert_ne!(window.turn(), Turn::Deserted, "whoever waits for more is not cut off");
                    may_have_changed = true;
                }
                Deed::End => {
                    window.end("end");
                    has_ended = true;
                }
                _ => {}
            }
            prop_assert!(window.weight < MOST + HEAVIEST, "{} is kept", window.weight);
            prop_assert_eq!(window.weight, window.pieces.iter().map(|(_, weight)| weight).sum::<usize>());
            // A writer that waits is woken whenever it is its turn again.
            if may_have_changed || paused.is_none() {
                paused = Some(window.turn());
            }
            prop_assert_eq!(paused, Some(window.turn()));
        }
        window.end("end");
        for model in &mut models {
            while !model.is_over && !model.is_cut_off {
                read(&mut window, model, written, true);
            }
            prop_assert_eq!(model.is_cut_off, window.is_cut_off(model.id));
            let (again, _) = window.next(model.id);
            prop_assert_eq!(again, if model.is_cut_off { Next::CutOff } else { Next::Over("end") });
        }
        prop_assert_eq!(window.join(), None, "nobody joins what is over");
    }
}

#[test]
fn who_joins_late_reads_from_the_beginning_until_it_is_gone() {
    let mut window = Window::<u8, ()>::new(10);
    let first = window.join().unwrap();
    window.write(1, 6);
    window.write(2, 6);
    assert_eq!((window.next(first).0, window.next(first).0), (Next::Piece(1), Next::Piece(2)));
    let second = window.join().unwrap();
    assert_eq!(window.turn(), Turn::Blocked, "the second has read nothing");
    assert_eq!(window.next(second), (Next::Piece(1), true));
    assert_eq!(window.turn(), Turn::Write);
    assert_eq!(window.join(), None);
}

#[test]
fn only_the_slowest_are_cut_off_and_only_where_somebody_waits() {
    let mut window = Window::<u8, ()>::new(2);
    let [fast, slower, slowest] = [(); 3].map(|()| window.join().unwrap());
    for piece in [1, 2] {
        window.write(piece, 1);
    }
    window.next(slower);
    assert_eq!(window.turn(), Turn::Rest, "nobody wants more");
    window.next(fast);
    assert!(window.next(fast).1, "the first that wants more wakes the writer");
    assert_eq!(window.turn(), Turn::Blocked);
    window.cut_off_slowest();
    assert_eq!([fast, slower, slowest].map(|id| window.is_cut_off(id)), [false, false, true]);
    assert_eq!(window.turn(), Turn::Write);
    assert_eq!(window.next(slower).0, Next::Piece(2), "what it has not read is still there");
    assert_eq!(window.next(slowest).0, Next::CutOff);
}
