//! Log probabilities as Gemini tells them, in OpenAI's form, which is the one clients know.

use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    #[serde(default)]
    chosen_candidates: Vec<Token>,
    #[serde(default)]
    top_candidates: Vec<Others>,
}

#[derive(Deserialize)]
struct Others {
    #[serde(default)]
    candidates: Vec<Token>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    log_probability: f64,
}

impl Token {
    fn to_json(&self) -> Value {
        json!({"token": self.token, "logprob": self.log_probability, "bytes": self.token.as_bytes()})
    }
}

/// The list of OpenAI's `logprobs.content`; `None` where nothing is told.
pub(super) fn in_openais_form(told: &Value) -> Option<Vec<Value>> {
    let told = Told::deserialize(told).ok()?;
    let others = told.top_candidates.iter().map(|others| others.candidates.as_slice());
    let others = others.chain(std::iter::repeat(&[][..]));
    let tokens = told.chosen_candidates.iter().zip(others).map(|(chosen, others)| {
        let mut token = chosen.to_json();
        token["top_logprobs"] = others.iter().map(Token::to_json).collect();
        token
    });
    let tokens: Vec<Value> = tokens.collect();
    (!tokens.is_empty()).then_some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_chosen_token_has_its_own_and_the_likeliest_others() {
        let told = json!({"chosenCandidates": [{"token": "Hi", "logProbability": -0.5}],
            "topCandidates": [{"candidates": [{"token": "Hi", "logProbability": -0.5}, {"token": "Ho"}]}]});
        let token =
            |token: &str, logprob: f64, bytes: &[u8]| json!({"token": token, "logprob": logprob, "bytes": bytes});
        let mut expected = token("Hi", -0.5, &[72, 105]);
        expected["top_logprobs"] = json!([token("Hi", -0.5, &[72, 105]), token("Ho", 0.0, &[72, 111])]);
        assert_eq!(in_openais_form(&told), Some(vec![expected]));
        assert_eq!(in_openais_form(&json!({})), None);
    }
}
