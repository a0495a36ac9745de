//! The page: that it needs nothing besides itself, and that no text becomes markup.

use loadtest::report::{Report, page};

use crate::measured;

/// A report in which every text is this one.
fn all_called(text: &str) -> Report {
    let mut report = measured();
    let name = |name: &mut String| name.push_str(text);
    name(&mut report.began);
    name(&mut report.command);
    name(&mut report.machine.processor);
    name(&mut report.machine.kernel);
    report.targets.iter_mut().for_each(name);
    for played in &mut report.scenarios {
        [&mut played.name, &mut played.purpose, &mut played.load].into_iter().for_each(name);
    }
    for turn in &mut report.turns {
        [&mut turn.scenario, &mut turn.target].into_iter().chain(&mut turn.voids).for_each(name);
    }
    for row in &mut report.rows {
        [&mut row.scenario, &mut row.target].into_iter().for_each(name);
        row.ratios = row.ratios.iter().map(|(base, ratios)| (format!("{base}{text}"), ratios.clone())).collect();
    }
    for verdict in &mut report.verdicts {
        [&mut verdict.scenario, &mut verdict.what, &mut verdict.bound].into_iter().for_each(name);
    }
    report
}

#[test]
fn no_text_becomes_markup() {
    let page = page::page(&all_called(r#"<i onclick="x">&'"#));
    assert!(!page.contains("<i ") && !page.contains(r#""x""#), "a text is markup");
    assert!(page.contains("direct&lt;i onclick=&quot;x&quot;&gt;&amp;'"), "the texts are not shown");
    // Nothing but the elements that the template has.
    let tags = |page: &str| page.matches('<').count();
    assert_eq!(tags(&page), tags(&page::page(&all_called("_i onclick__x__"))));
}

#[test]
fn the_page_needs_nothing_besides_itself() {
    let page = page::page(&measured());
    let fetching = ["<script", "<link", "<img", "<iframe", "src=", "url(", "@import", "//", "javascript:"];
    for word in fetching {
        assert!(!page.contains(word), "the page has {word}");
    }
    assert_eq!(page.matches("http").count(), page.matches("http-equiv").count(), "the page names an address");
    assert!(page.contains("default-src 'none'"), "the browser is not told to fetch nothing");
    let links = page.split("href=\"").skip(1);
    let mut count = 0;
    for link in links {
        count += 1;
        let target = link.strip_prefix('#').and_then(|rest| rest.split('"').next()).unwrap();
        assert!(page.contains(&format!("id=\"{target}\"")), "nothing is called {target}");
    }
    assert!(count > 0);
}

#[test]
fn the_page_shows_medians_and_a_dash_for_what_is_missing() {
    let page = page::page(&measured());
    let section = page.split("id=\"scenario-1\"").nth(1).unwrap();
    let row = section.split("<tr").find(|row| row.contains("> floor<")).unwrap();
    let values: Vec<&str> =
        row.split("<td class=\"number\">").skip(1).filter_map(|cell| cell.split('<').next()).collect();
    assert_eq!(values[..6], ["11,940", "20.8", "24.3", "30.7", "38.1", "61.0"]);
    let row = section.split("<tr").find(|row| row.contains("> direct<")).unwrap();
    assert!(row.contains("<td class=\"number\">–</td>"), "{row}");
}

#[test]
fn what_was_missed_comes_first() {
    let page = page::page(&measured());
    let place = |word: &str| page.find(word).unwrap();
    assert!(place("MISSED") < place("NOT MEASURED"));
    assert!(place("NOT MEASURED") < place("✓ holds"));
    assert!(place("✓ holds") < place("id=\"scenario-1\""));
}

#[test]
fn a_scenario_has_the_plots_that_its_figures_allow() {
    let page = page::page(&measured());
    let sections: Vec<&str> = page.split("<h2 id=\"scenario-").skip(1).collect();
    let captions = |index: usize| -> Vec<&str> {
        let captions = sections[index].split("<figcaption>").skip(1);
        captions.filter_map(|caption| caption.split('<').next()).collect()
    };
    let (latency, cpu, memory) = ("Latency by percentile", "CPU time of the server a request", "Memory of the server");
    assert_eq!(captions(0), [latency, memory, cpu]);
    assert!(captions(1)[0].starts_with("Frontier"), "{:?}", captions(1));
    assert_eq!(captions(1)[1..4], [latency, memory, cpu]);
    assert!(captions(2).contains(&"Time to the first text by percentile"));
    assert!(captions(3).contains(&"Time of a refusal by percentile"));
    assert!(page.contains("floor: 6,000 of 6,000 offered req/s, p99 0.925 ms"), "no step tells its values");
    assert!(page.contains("floor: p99 30.7 ms"), "no percentile tells its value");
    let hollow = |index: usize| sections[index].matches("sign hollow").count();
    assert_eq!((hollow(0), hollow(1)), (0, 2), "two targets fell behind at the last step");
    assert!(sections[4].contains("<title>chat-20ms: 34.0 µs</title>"), "what a bar is compared with is not beside it");
    assert!(page.contains("34.0 µs · 1.17 × floor"), "a bar has no ratio");
}

#[test]
fn every_plot_says_what_it_shows_to_those_who_do_not_see_it() {
    let page = page::page(&measured());
    let plots: Vec<&str> = page.split("<svg class=\"plot").skip(1).collect();
    assert!(plots.len() > 10);
    for plot in plots {
        let head = plot.split('>').next().unwrap();
        assert!(head.contains("role=\"img\"") && head.contains("aria-label=\""), "{head}");
        assert!(!head.contains("aria-label=\"\""), "{head}");
    }
}
