//! Every rule for numbers and ranges in replies.

use proptest::prelude::*;

use super::*;

fn read(form: Form, reply: &str) -> Result<(String, String), String> {
    form.read(reply).map(|(value, evaluation)| (value.debug_text().into_owned(), evaluation.text))
}

#[test]
fn the_number_in_a_reply_is_read_and_must_be_whole() {
    for (reply, number) in [
        ("7", 7),
        ("\"7\"", 7),
        ("'7'", 7),
        ("“7”", 7),
        ("`-7`", -7),
        ("**7**", 7),
        ("+7", 7),
        ("007", 7),
        ("7.", 7),
        ("7.0", 7),
        ("7.00 of 10", 7),
        ("The answer is 42.", 42),
        ("42 is the answer to 7", 42),
        ("1 000", 1),
        ("it fell to -3", -3),
        ("−3", -3),
        ("1e3", 1000),
        ("\"\\u0037\"", 7),
        ("{\"number\": 7}", 7),
        ("0x1F is 31", 31),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
        ("9007199254740993", 9_007_199_254_740_993),
    ] {
        let read = Form::Number.read(reply);
        assert_eq!(read, Ok((Value::Int(number), Evaluation::of(number.to_string()))), "{reply}");
    }
}

#[test]
fn a_reply_without_a_whole_number_is_refused_with_its_words() {
    for (reply, part) in [
        ("none", "the reply 'none' holds no number"),
        ("NaN", "holds no number"),
        ("Infinity", "holds no number"),
        ("-inf", "holds no number"),
        ("0x10", "holds no number"),
        ("\"\"", "holds no number"),
        ("7.5", "the reply '7.5' holds no whole number of 64 bits"),
        ("it is 7.5, so 7", "holds no whole number"),
        (".5", "holds no whole number"),
        ("9223372036854775808", "holds no whole number"),
        ("1e300", "holds no whole number"),
    ] {
        let refused = Form::Number.read(reply).expect_err(reply);
        assert!(refused.contains(part), "{refused}");
    }
}

#[test]
fn the_score_in_a_reply_is_compared_with_two_decimals() {
    for (reply, score, text) in [
        ("7", 7.0, "7.00"),
        ("7.5", 7.5, "7.50"),
        ("\"7.5\"", 7.5, "7.50"),
        ("Score: 7.255/10", 7.255, "7.25"),
        ("8.999", 8.999, "9.00"),
        ("-0.5", -0.5, "-0.50"),
        ("−0.5", -0.5, "-0.50"),
        ("-0.001", -0.001, "0.00"),
        ("-0", 0.0, "0.00"),
        (".75", 0.75, "0.75"),
        ("about .75", 0.75, "0.75"),
        ("7.5E+1", 75.0, "75.00"),
        ("3 4", 3.0, "3.00"),
        ("**9**", 9.0, "9.00"),
    ] {
        let read = Form::Score.read(reply);
        assert_eq!(read, Ok((Value::Float(score), Evaluation::of(text))), "{reply}");
    }
    let huge = "9".repeat(400);
    for (reply, part) in
        [("good", "the reply 'good' holds no number"), ("NaN", "holds no number"), (huge.as_str(), "too large")]
    {
        let refused = Form::Score.read(reply).expect_err(reply);
        assert!(refused.contains(part) && refused.len() < 200, "{refused}");
    }
}

#[test]
fn a_range_is_two_numbers_however_they_are_separated() {
    for (reply, range) in [
        ("1-5", "1-5"),
        ("\"1-5\"", "1-5"),
        ("1 - 5", "1-5"),
        ("1–5", "1-5"),
        ("1 — 5", "1-5"),
        ("1‑5", "1-5"),
        ("\"1\\u20135\"", "1-5"),
        ("1 to 5", "1-5"),
        ("1 TO 5", "1-5"),
        ("1to5", "1-5"),
        ("from -5 to -1.", "-5--1"),
        ("-5--1", "-5--1"),
        ("-5 - -1", "-5--1"),
        ("−5 – −1", "-5--1"),
        ("-5-10", "-5-10"),
        ("+1-+5", "1-5"),
        ("0.5 - 1.50", "0.5-1.50"),
        ("I'd guess 3-5 days.", "3-5"),
        ("GPT-4 says: 3-5", "3-5"),
        ("Of 10 people, 3 to 5 agree", "3-5"),
        ("10-5", "10-5"),
        ("7", "7-7"),
        ("\"7\"", "7-7"),
        ("-7", "-7--7"),
        ("about 7.5 days", "7.5-7.5"),
        ("7 (of 10)", "7-7"),
        ("7 tons, 10 boxes", "7-7"),
        ("- 7\n- 10", "7-7"),
        ("7-0x10", "7-7"),
    ] {
        assert_eq!(read(Form::Range, reply), Ok((range.to_owned(), range.to_owned())), "{reply}");
        assert!(number::range(range).is_some(), "branches can compare {range}");
    }
    for reply in ["", "a-b", "to", "-", "NaN-NaN", "0x1-0x5"] {
        let refused = Form::Range.read(reply).expect_err(reply);
        assert!(refused.contains("neither a range nor a number"), "{refused}");
    }
}

/// Texts of the pieces that replies with numbers are made of.
fn numeric_text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "1", "0", "99", "-", "+", ".", " ", "\"", "–", "to", "x", "0x", "e", "\n", "'", "*", "−", "ä", "NaN", "\\",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_reply_makes_a_reader_panic(reply in prop_oneof![any::<String>(), numeric_text()]) {
        for form in [Form::Number, Form::Score, Form::Range] {
            match form.read(&reply) {
                Ok((_, evaluation)) => prop_assert!(number::decimal(&evaluation.text).is_some() != (form == Form::Range)),
                Err(problem) => prop_assert!(problem.starts_with("the reply '")),
            }
        }
    }

    #[test]
    fn a_whole_number_is_read_back(number in any::<i64>(), around in "[a-z ]{0,9}") {
        for reply in [number.to_string(), format!("\"{number}\""), format!("{around} {number}, {around}")] {
            prop_assert_eq!(Form::Number.read(&reply).map(|read| read.0), Ok(Value::Int(number)), "{}", reply);
        }
    }

    #[test]
    fn a_score_is_read_back(number in -1e15..1e15_f64) {
        for reply in [number.to_string(), format!("\"{number}\""), serde_json::to_string(&number).unwrap_or_default()] {
            prop_assert_eq!(Form::Score.read(&reply).map(|read| read.0), Ok(Value::Float(number)), "{}", reply);
        }
    }

    #[test]
    fn a_range_is_read_back_and_holds_only_the_two_numbers(
        low in any::<i32>(),
        high in any::<i32>(),
        separator in prop::sample::select(vec!["-", " - ", "–", " — ", " to ", "to"]),
    ) {
        let range = format!("{low}-{high}");
        for reply in [format!("{low}{separator}{high}"), format!("between: {low}{separator}{high}."), range.clone()] {
            prop_assert_eq!(read(Form::Range, &reply), Ok((range.clone(), range.clone())), "{}", reply);
        }
        prop_assert_eq!(number::range(&range), Some((f64::from(low), f64::from(high))));
    }
}
