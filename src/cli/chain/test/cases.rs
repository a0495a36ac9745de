//! The file of tests beside a chain (`docs/workflow-spec.md`, testing chains): what is in it, checked as strictly as a
//! chain is, because a misspelt expectation would pass for ever.

use serde_json::{Map, Value as Json};

use super::mock::Mock;
use crate::{
    cli::chain::file::problem,
    domain::{
        failure::FailureClass,
        finding::{Code, Finding},
        spelling::folded,
        time::Timestamp,
        value::{DataType, Value},
    },
};

/// Cases of one file; more are no test but a load.
const MOST_CASES: usize = 10_000;

/// One run, and what should come of it.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) input: Value,
    /// Task to what it is answered.
    pub(super) mocks: Vec<(String, Mock)>,
    pub(super) expect: Expect,
}

/// What should come of a run; what is absent is not looked at, but a run without an expected error must succeed.
#[derive(Debug, Default)]
pub(super) struct Expect {
    pub(super) path: Option<Vec<String>>,
    pub(super) output: Option<Json>,
    pub(super) output_type: Option<DataType>,
    pub(super) error: Option<ExpectedError>,
}

#[derive(Debug)]
pub(super) struct ExpectedError {
    pub(super) class: FailureClass,
    pub(super) task: Option<String>,
}

/// Reads all cases.
///
/// # Errors
/// Everything that is wrong with them.
pub(super) fn read(document: &Json) -> Result<Vec<Case>, Vec<Finding>> {
    let mut reader = Reader::default();
    let cases = reader.file(document);
    match (cases, reader.findings) {
        (Some(cases), findings) if findings.is_empty() => Ok(cases),
        (_, findings) => Err(findings),
    }
}

#[derive(Default)]
struct Reader {
    findings: Vec<Finding>,
}

/// The fields of one object, by their canonical names; what is null is absent.
struct Fields<'a> {
    pointer: String,
    fields: Vec<(&'static str, &'a str, &'a Json)>,
}

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<(&'a Json, String)> {
        let (_, written, value) = self.fields.iter().find(|(known, ..)| *known == name)?;
        Some((value, below(&self.pointer, written)))
    }
}

/// The pointer to a member.
pub(super) fn below(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

impl Reader {
    fn find(&mut self, code: Code, pointer: &str, message: impl Into<String>) {
        self.findings.push(problem(code, pointer.to_owned(), message.into()));
    }

    fn wrong<T>(&mut self, pointer: &str, wanted: &str) -> Option<T> {
        self.find(Code::WrongType, pointer, format!("this should be {wanted}"));
        None
    }

    fn object<'a>(&mut self, json: &'a Json, pointer: &str) -> Option<&'a Map<String, Json>> {
        json.as_object().or_else(|| self.wrong(pointer, "an object"))
    }

    fn text(&mut self, found: Option<(&Json, String)>) -> Option<String> {
        let (json, pointer) = found?;
        json.as_str().map(str::to_owned).or_else(|| self.wrong(&pointer, "a text"))
    }

    fn fields<'a>(&mut self, json: &'a Json, pointer: &str, known: &[&'static str]) -> Option<Fields<'a>> {
        let mut fields = Vec::new();
        for (written, value) in self.object(json, pointer)? {
            match known.iter().find(|name| folded(name) == folded(written)) {
                Some(name) if !value.is_null() => fields.push((*name, written.as_str(), value)),
                Some(_) => {}
                None => {
                    let at = below(pointer, written);
                    let message = format!("unknown field '{written}'; the fields here are {}", known.join(", "));
                    self.find(Code::UnknownField, &at, message);
                }
            }
        }
        Some(Fields { pointer: pointer.to_owned(), fields })
    }

    fn file(&mut self, document: &Json) -> Option<Vec<Case>> {
        let fields = self.fields(document, "", &["cases"])?;
        let Some((cases, pointer)) = fields.get("cases") else {
            self.find(
                Code::MissingField,
                "",
                "there are no cases: write cases, a list of {name, input, mocks, expect}",
            );
            return None;
        };
        let Some(cases) = cases.as_array().filter(|cases| (1..=MOST_CASES).contains(&cases.len())) else {
            return self.wrong(&pointer, &format!("a list of 1 to {MOST_CASES} cases"));
        };
        let read = |(at, case)| self.case(at, case, &format!("{pointer}/{at}"));
        cases.iter().enumerate().map(read).collect()
    }

    fn case(&mut self, at: usize, case: &Json, pointer: &str) -> Option<Case> {
        let fields = self.fields(case, pointer, &["name", "input", "input_type", "mocks", "expect"])?;
        let name = self.text(fields.get("name")).unwrap_or_else(|| format!("case {}", at + 1));
        let input = self.input(&fields);
        let mut mocks = Vec::new();
        if let Some((json, pointer)) = fields.get("mocks") {
            for (task, mock) in self.object(json, &pointer)? {
                match Mock::read(mock) {
                    Ok(mock) => mocks.push((task.clone(), mock)),
                    Err(message) => self.find(Code::WrongType, &below(&pointer, task), message),
                }
            }
        }
        let Some((expect, at)) = fields.get("expect") else {
            self.find(
                Code::MissingField,
                pointer,
                "the case expects nothing: write expect, {path, output, output_type, error}",
            );
            return None;
        };
        let expect = self.expect(expect, &at)?;
        Some(Case { name, input: input?, mocks, expect })
    }

    fn input(&mut self, fields: &Fields<'_>) -> Option<Value> {
        let wanted = match self.text(fields.get("input_type")) {
            Some(name) => Some(self.data_type(&name, fields, "input_type")?),
            None => None,
        };
        let (input, pointer) =
            fields.get("input").map_or((Json::Null, fields.pointer.clone()), |(json, at)| (json.clone(), at));
        let data_type = match (wanted, &input) {
            (Some(data_type), _) => data_type,
            (None, Json::String(_) | Json::Null) => DataType::String,
            (None, _) => {
                self.find(Code::MissingField, &pointer, "input_type is needed unless the input is a text");
                return None;
            }
        };
        let value = Value::from_json(input, data_type, Timestamp::ZERO);
        value.map_err(|error| self.find(Code::WrongType, &pointer, format!("the input {error}"))).ok()
    }

    fn data_type(&mut self, name: &str, fields: &Fields<'_>, field: &str) -> Option<DataType> {
        let pointer = fields.get(field).map_or_else(String::new, |(_, at)| at);
        name.parse()
            .map_err(|error: crate::domain::value::UnknownDataType| {
                self.find(Code::UnknownValue, &pointer, error.to_string())
            })
            .ok()
    }

    fn expect(&mut self, expect: &Json, pointer: &str) -> Option<Expect> {
        let fields = self.fields(expect, pointer, &["path", "output", "output_type", "error"])?;
        let mut expected = Expect { output: fields.get("output").map(|(json, _)| json.clone()), ..Expect::default() };
        if let Some((path, at)) = fields.get("path") {
            let tasks =
                path.as_array().map(|tasks| tasks.iter().map(|task| task.as_str().map(str::to_owned)).collect());
            expected.path = Some(tasks.flatten().or_else(|| self.wrong(&at, "a list of task ids"))?);
        }
        if let Some(name) = self.text(fields.get("output_type")) {
            expected.output_type = Some(self.data_type(&name, &fields, "output_type")?);
        }
        if let Some((error, at)) = fields.get("error") {
            expected.error = Some(self.error(error, &at)?);
            if expected.output.is_some() || expected.output_type.is_some() {
                self.find(Code::UnusedField, &at, "a run that fails has no output; expect one of the two");
            }
        }
        if fields.fields.is_empty() {
            self.find(Code::MissingField, pointer, "nothing is expected: write path, output, output_type or error");
        }
        Some(expected)
    }

    fn error(&mut self, error: &Json, pointer: &str) -> Option<ExpectedError> {
        let fields = self.fields(error, pointer, &["class", "task"])?;
        let Some(class) = self.text(fields.get("class")) else {
            self.find(Code::MissingField, pointer, "an expected error needs its class, such as timeout");
            return None;
        };
        let Some(class) = FailureClass::parse(&class) else {
            let at = fields.get("class").map_or_else(String::new, |(_, at)| at);
            self.find(Code::UnknownValue, &at, unknown_class(&class));
            return None;
        };
        Some(ExpectedError { class, task: self.text(fields.get("task")) })
    }
}

/// What to say of a class that does not exist.
pub(super) fn unknown_class(name: &str) -> String {
    format!("unknown class '{name}'; the classes are {}", FailureClass::ALL.map(FailureClass::as_str).join(", "))
}
