//! Which figures are shown: medians, the frontier, curves of many rounds, and how numbers are written.

use loadtest::report::{
    columns::{self, Breadth},
    curve, frontier,
    number::{self, DASH},
    plot::{self, lines, mark, scale::Scale},
    section,
};

use crate::{measured, row, section_of};

#[test]
fn equal_steps_on_the_percentile_axis_are_tenfold_rarer_answers() {
    let scale = Scale::percentiles_to(99.995);
    for (percentile, place) in [(0.0, 0.0), (90.0, 0.25), (99.0, 0.5), (99.9, 0.75), (99.99, 1.0)] {
        assert!((scale.at(percentile) - place).abs() < 1e-9, "{percentile} is at {}", scale.at(percentile));
    }
    let words: Vec<String> = scale.ticks().into_iter().map(|(_, words)| words).collect();
    assert_eq!(words, ["50", "90", "99", "99.9", "99.99"]);
    // Few answers know nothing of one in ten thousand.
    assert_eq!(Scale::percentiles_to(99.5).ticks().len(), 3);
}

#[test]
fn other_axes_have_round_values_in_good_number() {
    let words = |scale: Scale| scale.ticks().into_iter().map(|(_, words)| words).collect::<Vec<_>>();
    assert_eq!(words(Scale::linear_to(43.0)), ["0", "10", "20", "30", "40", "50"]);
    assert_eq!(words(Scale::linear_to(18_000.0)), ["0", "5,000", "10,000", "15,000", "20,000"]);
    assert_eq!(words(Scale::linear_to(0.0)).len(), 6);
    assert_eq!(words(Scale::log_around([0.09, 148.0])), ["0.1", "1", "10", "100"]);
    assert_eq!(words(Scale::log_around([2.1, 40.0])), ["2", "5", "10", "20", "50"]);
    assert_eq!(words(Scale::log_around([20.0, 24.0])), ["20", "22", "24"]);
    for value in [0.0005, 0.2, 7.0, 20_000.0] {
        let ticks = Scale::log_around([value, value]).ticks();
        assert!((2..=12).contains(&ticks.len()), "{value}: {ticks:?}");
    }
}

#[test]
fn a_step_that_fell_behind_does_not_count_as_reached() {
    let step = |offered, goodput, p99| row(&[("offered_rps", offered), ("goodput_rps", goodput), ("p99_ms", p99)]);
    let kept = step(1000.0, 970.0, 0.8);
    let behind = step(2000.0, 1939.0, 0.8);
    let slow = step(3000.0, 3000.0, 7.0);
    assert_eq!(frontier::best([&kept, &behind], 1.0), Some(970.0));
    assert_eq!(frontier::best([&behind], 1.0), None);
    assert_eq!(frontier::best([&kept, &behind, &slow], 5.0), Some(970.0));
    assert_eq!(frontier::best([&kept, &behind, &slow], 10.0), Some(3000.0));
    assert_eq!(frontier::best([&step(10.0, 10.0, 1.0)], 1.0), None, "under a bound is not at it");
    assert_eq!(frontier::best([&row(&[("offered_rps", 10.0)])], 1.0), None);
}

#[test]
fn times_are_shown_first_of_the_last_step_that_all_targets_kept_up_with() {
    let report = measured();
    assert_eq!(section_of(&report, "chat-instant-ladder").fair_step(), Some(3));
    assert_eq!(section_of(&report, "chat-20ms").fair_step(), None);
    // No step of this one is answered in full by anybody.
    let mut late = report.clone();
    for row in late.rows.iter_mut().filter(|row| row.scenario == "chat-instant-ladder") {
        row.figures.insert("goodput_rps".to_owned(), 1.0);
    }
    assert_eq!(section_of(&late, "chat-instant-ladder").fair_step(), Some(0));
}

#[test]
fn a_curve_of_many_rounds_is_their_median_where_all_have_one() {
    let rounds = [vec![(0.0, 1.0), (4.0, 9.0)], vec![(0.0, 2.0), (2.0, 4.0)], vec![(0.0, 90.0), (3.0, 90.0)]];
    assert_eq!(curve::median_curve(&rounds, 3), [(0.0, 2.0), (1.0, 3.0), (2.0, 5.0)]);
    assert_eq!(curve::median_curve(&rounds[..2], 2), [(0.0, 1.5), (2.0, 4.5)], "of two, what is between them");
    assert!(curve::median_curve(&[], 3).is_empty());
    assert!(curve::median_curve(&[Vec::new()], 3).is_empty());
    // The longest answer of all has no place among percentiles.
    let one: &[(f64, f64)] = &[(0.0, 1.0), (90.0, 3.0), (100.0, 500.0)];
    let merged = curve::percentiles(&[one], 3);
    assert_eq!(merged.len(), 3);
    assert!((merged[1].0 - 68.377).abs() < 0.001 && (merged[1].1 - 2.0).abs() < 1e-9, "{merged:?}");
    assert_eq!(merged[2].1, 3.0);
}

#[test]
fn curves_of_one_colour_have_another_sign() {
    assert_eq!(plot::colour(0), plot::colour(plot::COLOURS));
    assert_ne!(mark::outline(0, 0.0, 0.0, 3.0), mark::outline(plot::COLOURS, 0.0, 0.0, 3.0));
}

#[test]
fn names_beside_curves_do_not_meet() {
    assert_eq!(lines::apart(&[10.0, 100.0], 15.0, 0.0, 200.0), [10.0, 100.0]);
    assert_eq!(lines::apart(&[50.0, 51.0, 52.0], 15.0, 0.0, 200.0), [50.0, 65.0, 80.0]);
    assert_eq!(lines::apart(&[190.0, 198.0, 199.0], 15.0, 0.0, 200.0), [170.0, 185.0, 200.0]);
}

#[test]
fn a_figure_has_three_digits_that_count() {
    let written = [
        (0.0, "0"),
        (0.0424, "0.0424"),
        (0.124, "0.124"),
        (1.0, "1.00"),
        (9.996, "10.0"),
        (99.95, "100"),
        (999.6, "1,000"),
        (12_414.7, "12,415"),
        (-3.2, "-3.20"),
        (1_234_567.0, "1,234,567"),
        (f64::NAN, DASH),
    ];
    for (value, text) in written {
        assert_eq!(number::figure(value), text);
    }
    let added = [
        (0.041, "+0.041"),
        (0.41, "+0.41"),
        (-3.1875, "-3.19"),
        (62.14, "+62.1"),
        (-1234.0, "-1,234"),
        (0.0, "+0.000"),
    ];
    for (value, text) in added {
        assert_eq!(number::added(value), text);
    }
    let closely = [
        (1.2504, "1.25"),
        (1.254, "1.254"),
        (0.81, "0.81"),
        (50.04, "50.04"),
        (100.0, "100"),
        (0.0, "0"),
        (-2.5, "-2.5"),
    ];
    for (value, text) in closely {
        assert_eq!(number::closely(value), text);
    }
    assert_eq!(number::ratio(1.2249), "1.22");
    assert_eq!(number::tick(99.99), "99.99");
}

#[test]
fn columns_that_no_row_has_are_left_out() {
    let report = measured();
    let titles = |scenario: &str, breadth| {
        let section = section_of(&report, scenario);
        columns::columns(&section, &report, breadth).into_iter().map(|column| column.title).collect::<Vec<_>>()
    };
    let chat = titles("chat-20ms", Breadth::Short);
    for absent in ["offered", "token p99", "gap p99", "refused", "failed", "rounds", "p90"] {
        assert!(!chat.contains(&absent.to_owned()), "{absent} in {chat:?}");
    }
    assert!(chat.contains(&"late".to_owned()), "none late is worth telling: {chat:?}");
    assert!(titles("stream-2000", Breadth::Short).contains(&"token p99".to_owned()));
    assert!(titles("overload", Breadth::Short).contains(&"refused".to_owned()));
    assert!(titles("chat-instant-ladder", Breadth::Short).contains(&"rounds".to_owned()));
    assert!(titles("chat-20ms", Breadth::Full).contains(&"p90".to_owned()));
}

#[test]
fn rows_are_compared_with_the_first_target_or_with_another_scenario() {
    let report = measured();
    let units = |scenario: &str| {
        let section = section_of(&report, scenario);
        let columns = columns::columns(&section, &report, Breadth::Short);
        columns.into_iter().map(|column| column.unit).collect::<Vec<_>>()
    };
    let chat = units("chat-20ms");
    assert!(chat.contains(&"× direct".to_owned()) && !chat.contains(&"× floor".to_owned()), "{chat:?}");
    assert!(units("execute-20ms").contains(&"× chat-20ms".to_owned()));
}

#[test]
fn a_figure_has_all_its_comparisons_below_it_where_there_is_room() {
    let report = measured();
    let section = section_of(&report, "chat-20ms");
    let bases = section.bases(&report);
    let mut row = section.row("penstock", None).unwrap().clone();
    // Nobody asks how many times as long it takes, but what is added.
    row.ratios.get_mut("floor").unwrap().insert("p99_ms".to_owned(), 9.0);
    let columns = columns::columns(&section, &report, Breadth::Full);
    let below = |title: &str| columns.iter().find(|column| column.title == title).unwrap().compared(&row, &bases);
    assert_eq!(below("goodput"), ["0.97 × direct", "1.01 × floor"]);
    assert_eq!(below("CPU"), ["1.17 × floor"]);
    assert_eq!(below("p99"), ["+4.85 vs direct", "-3.19 vs floor"]);
    assert!(below("max").is_empty());
    assert!(!columns.iter().any(|column| column.unit.contains("direct")), "nothing is told twice");
}

#[test]
fn what_is_void_is_told_once_with_all_its_rounds() {
    let report = measured();
    let voids = section::voids(&report);
    let told: Vec<_> = voids.iter().map(|void| (void.target.as_str(), void.step, void.rounds.as_slice())).collect();
    assert_eq!(told, [("direct", Some(4), &[1, 2, 3][..]), ("floor", Some(3), &[2][..])]);
    let section = section_of(&report, "chat-instant-ladder");
    let rounds: Vec<usize> = section.turns_of("floor", Some(3)).iter().map(|turn| turn.round).collect();
    assert_eq!(rounds, [1, 3], "a void round is in no curve");
    let offered = section.row("direct", Some(4)).unwrap().figures.get("offered_rps");
    assert_eq!(offered, Some(&18_000.0), "what was offered is known, whatever came of it");
}
