//! What all forms of a report say in the same words: where and when it was measured, and how its bounds fared.

use super::{
    number,
    results::{Machine, Report, Verdict},
    section::Void,
};

/// How a bound fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was missed.
    Missed,
    /// It could not be measured, which is not better.
    Unknown,
    /// It holds.
    Holds,
}

impl Fate {
    /// How a verdict's bound fared.
    pub fn of(verdict: &Verdict) -> Self {
        match (verdict.holds, verdict.found) {
            (true, _) => Fate::Holds,
            (false, Some(_)) => Fate::Missed,
            (false, None) => Fate::Unknown,
        }
    }

    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Fate::Missed => "MISSED",
            Fate::Unknown => "NOT MEASURED",
            Fate::Holds => "holds",
        }
    }
}

/// The verdicts, those that people look for first.
pub fn verdicts_by_fate(report: &Report) -> Vec<(Fate, &Verdict)> {
    let mut verdicts: Vec<(Fate, &Verdict)> = report.verdicts.iter().map(|v| (Fate::of(v), v)).collect();
    // The sort keeps the order of those that fared the same.
    verdicts.sort_by_key(|(fate, _)| *fate as u8);
    verdicts
}

/// All verdicts in a sentence, such as `11 of 13 bounds hold, 1 is missed, 1 was not measured`.
pub fn tally(report: &Report) -> String {
    let count = |fate| report.verdicts.iter().filter(|verdict| Fate::of(verdict) == fate).count();
    let (all, held, missed, unknown) =
        (report.verdicts.len(), count(Fate::Holds), count(Fate::Missed), count(Fate::Unknown));
    let mut text = match (held, all) {
        (_, 0) => return "no bounds were set".to_owned(),
        (1, 1) => "the bound holds".to_owned(),
        (held, all) if held == all => format!("all {all} bounds hold"),
        (held, all) => format!("{held} of {all} bounds hold"),
    };
    if missed > 0 {
        text += &format!(", {missed} {} missed", if missed == 1 { "is" } else { "are" });
    }
    if unknown > 0 {
        text += &format!(", {unknown} {} not measured", if unknown == 1 { "was" } else { "were" });
    }
    text
}

/// What was found, or a dash.
pub fn found(verdict: &Verdict) -> String {
    verdict.found.map_or_else(|| number::DASH.to_owned(), number::closely)
}

/// The machine in a line.
pub fn machine(machine: &Machine) -> String {
    let Machine { processor, cores, memory_gib, kernel } = machine;
    let cores = if *cores == 1 { "1 core".to_owned() } else { format!("{cores} cores") };
    format!("{processor}, {cores}, {} GiB, {kernel}", number::tick((memory_gib * 10.0).round() / 10.0))
}

/// The moment at which it began, as people write it; as it is kept, if that is not RFC 3339 in UTC.
pub fn began(report: &Report) -> String {
    let shown = report.began.split_once('T').and_then(|(day, rest)| {
        let minute = rest.strip_suffix('Z')?.get(..5)?;
        Some(format!("{day} {minute} UTC"))
    });
    shown.unwrap_or_else(|| report.began.clone())
}

/// How many rounds the figures are of.
pub fn rounds(report: &Report) -> String {
    match report.rounds {
        1 => "one round".to_owned(),
        rounds => format!("medians of {rounds} rounds"),
    }
}

/// The most that other machines on the same host took of this one's time, in percent.
pub fn stolen(report: &Report) -> String {
    let most = report.turns.iter().map(|turn| turn.stolen).fold(0.0, f64::max);
    format!("{} %", number::tick((most * 1000.0).round() / 10.0))
}

/// What was void, in a sentence that its reason ends.
pub fn void_where(void: &Void) -> String {
    let rounds: Vec<String> = void.rounds.iter().map(usize::to_string).collect();
    let rounds =
        if rounds.len() == 1 { format!("round {}", rounds[0]) } else { format!("rounds {}", rounds.join(", ")) };
    let step = void.step.map_or_else(String::new, |step| format!(", step {}", step + 1));
    format!("{}, {}{step}, {rounds}", void.scenario, void.target)
}
