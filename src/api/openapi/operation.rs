//! The language in which operations are written down: a method and a path, what goes in, what comes out, how it fails.
//! What every operation of a kind has (its parameters in the path, errors of reading a body, headers) is added here.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use utoipa::{
    ToSchema,
    openapi::{
        ContentBuilder, HttpMethod, Paths, Ref, RefOr, Required, ResponseBuilder, Schema,
        path::{OperationBuilder, Parameter, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::{ArrayBuilder, Object},
        security::SecurityRequirement,
    },
};

use super::shared::{self, Errors};

/// Parameters that stand in paths.
const IN_PATHS: [(&str, &str); 13] = [
    ("id", "Its id"),
    ("model", "A declared model's id or name"),
    ("name", "Its name"),
    ("purpose", "A `purposeType`"),
    ("provider", "`openai` or `gemini`"),
    ("poolID", "Id of a pool"),
    ("backendID", "Id of a backend"),
    ("modelID", "Id or name of a declared model"),
    ("chainID", "Id of a stored chain"),
    ("alias", "Name of the alias"),
    ("file", "Name of a file"),
    ("digest", "Digest of a blob"),
    ("modelName", "Name of a model, slashes included"),
];

const JSON: &str = "application/json";

/// One operation, as far as it is written down.
pub(super) struct Operation {
    method: HttpMethod,
    path: &'static str,
    built: OperationBuilder,
    success: Option<(u16, ResponseBuilder)>,
    statuses: BTreeSet<u16>,
    errors: Errors,
    is_served: bool,
    is_open: bool,
    schemas: Vec<(String, RefOr<Schema>)>,
}

/// `GET` of a path. `id` is what generated clients call the operation.
pub(super) fn get(path: &'static str, id: &str, summary: &str) -> Operation {
    Operation::new(HttpMethod::Get, path, id, summary)
}

/// `POST` to a path.
pub(super) fn post(path: &'static str, id: &str, summary: &str) -> Operation {
    Operation::new(HttpMethod::Post, path, id, summary)
}

/// `PUT` to a path.
pub(super) fn put(path: &'static str, id: &str, summary: &str) -> Operation {
    Operation::new(HttpMethod::Put, path, id, summary)
}

/// `DELETE` of a path.
pub(super) fn delete(path: &'static str, id: &str, summary: &str) -> Operation {
    Operation::new(HttpMethod::Delete, path, id, summary)
}

impl Operation {
    fn new(method: HttpMethod, path: &'static str, id: &str, summary: &str) -> Self {
        let built = OperationBuilder::new().operation_id(Some(id)).summary(Some(summary));
        let names = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
        let built = names.fold(built, |built, name| {
            let about = IN_PATHS.iter().find(|(known, _)| *known == name).map_or("", |(_, about)| about);
            built.parameter(shared::parameter(ParameterIn::Path, name, about, shared::text()))
        });
        Self {
            method,
            path,
            built,
            success: None,
            statuses: BTreeSet::from([0, 401, 503]),
            errors: Errors::Text,
            is_served: false,
            is_open: false,
            schemas: Vec::new(),
        }
    }

    /// Which resource it is of.
    pub(super) fn of(mut self, tag: &str) -> Self {
        self.built = self.built.tag(tag);
        self
    }

    /// More than its summary.
    pub(super) fn says(mut self, text: &str) -> Self {
        self.built = self.built.description(Some(text));
        self
    }

    /// It needs no token and cannot fail.
    pub(super) fn open(mut self) -> Self {
        self.is_open = true;
        self.statuses.clear();
        self
    }

    /// It asks backends: headers say where it may go, and its answer names who gave it.
    pub(super) fn served(mut self) -> Self {
        self.built = shared::wishes().into_iter().fold(self.built, OperationBuilder::parameter_ref);
        self.is_served = true;
        self.statuses.extend([409, 429, 500]);
        self
    }

    /// It speaks a dialect: the backend's faults have their status.
    pub(super) fn routed(mut self, errors: Errors) -> Self {
        self.errors = errors;
        self.statuses.extend([400, 404, 429, 502, 504]);
        self.served()
    }

    /// Errors in OpenAI's form.
    pub(super) fn openai_errors(mut self) -> Self {
        self.errors = Errors::Openai;
        self
    }

    /// Errors in OpenAI's form for OpenAI's own libraries, in ours for everybody else.
    pub(super) fn either_error(mut self) -> Self {
        self.errors = Errors::Either;
        self
    }

    /// A list in pages.
    pub(super) fn paged(mut self) -> Self {
        self.built = ["limit", "cursor"]
            .into_iter()
            .fold(self.built, |built, name| built.parameter_ref(shared::parameter_reference(name)));
        self.fails(&[400, 422])
    }

    /// A parameter in the query.
    pub(super) fn asks(mut self, name: &str, about: &str, schema: Object) -> Self {
        let parameter: Parameter = shared::parameter(ParameterIn::Query, name, about, schema);
        self.built = self.built.parameter(parameter);
        self
    }

    /// A body in JSON or YAML.
    pub(super) fn takes<T: ToSchema>(self, example: Json) -> Self {
        self.takes_as::<T>(&[JSON, "application/yaml"], example)
    }

    /// A body in JSON only.
    pub(super) fn takes_json<T: ToSchema>(self, example: Json) -> Self {
        self.takes_as::<T>(&[JSON], example)
    }

    fn takes_as<T: ToSchema>(mut self, types: &[&str], example: Json) -> Self {
        let schema = self.reference::<T>();
        let body = types.iter().fold(RequestBodyBuilder::new().required(Some(Required::True)), |body, media| {
            let content = ContentBuilder::new().schema(Some(schema.clone())).example(Some(example.clone()));
            body.content(*media, content.build())
        });
        self.built = self.built.request_body(Some(body.build()));
        self.fails(&[400, 408, 413, 415])
    }

    /// The answer of a success.
    pub(super) fn gives<T: ToSchema>(mut self, status: u16, about: &str, example: Json) -> Self {
        let schema = self.reference::<T>();
        self.answers(status, about, JSON, schema, Some(example))
    }

    /// An array as the answer.
    pub(super) fn lists<T: ToSchema>(mut self, about: &str, example: Json) -> Self {
        let items = self.reference::<T>();
        self.answers(200, about, JSON, ArrayBuilder::new().items(RefOr::Ref(items)).build(), Some(example))
    }

    /// A confirmation: a JSON string.
    pub(super) fn confirms(self, status: u16, text: &str) -> Self {
        self.answers(status, "A confirmation", JSON, shared::text(), Some(text.into()))
    }

    /// An array of texts as the answer.
    pub(super) fn lists_texts(self, about: &str, example: Json) -> Self {
        self.answers(
            200,
            about,
            JSON,
            ArrayBuilder::new().items(RefOr::T(shared::text().into())).build(),
            Some(example),
        )
    }

    /// Any object as the answer.
    pub(super) fn any(self, about: &str, example: Json) -> Self {
        self.answers(200, about, JSON, Object::new(), Some(example))
    }

    /// A text that is no JSON: a stream, or a drawing.
    pub(super) fn sends(self, media: &str, about: &str, example: &str) -> Self {
        self.answers(200, about, media, shared::text(), Some(example.into()))
    }

    /// An answer without a body.
    pub(super) fn empty(mut self, about: &str) -> Self {
        self.success = Some((200, ResponseBuilder::new().description(about)));
        self
    }

    fn answers(
        mut self,
        status: u16,
        about: &str,
        media: &str,
        schema: impl Into<RefOr<Schema>>,
        example: Option<Json>,
    ) -> Self {
        let content = ContentBuilder::new().schema(Some(schema)).example(example).build();
        let response = match self.success.take() {
            // A second media type of the same answer.
            Some((_, response)) => response,
            None => ResponseBuilder::new().description(about),
        };
        self.success = Some((status, response.content(media, content)));
        self
    }

    /// Statuses of its errors, beside those that all have.
    pub(super) fn fails(mut self, statuses: &[u16]) -> Self {
        self.statuses.extend(statuses);
        self
    }

    fn reference<T: ToSchema>(&mut self) -> Ref {
        T::schemas(&mut self.schemas);
        self.schemas.push((T::name().into_owned(), T::schema()));
        Ref::from_schema_name(T::name())
    }

    /// How it fails.
    pub(super) fn failures(&self) -> impl Iterator<Item = (Errors, u16)> {
        self.statuses.iter().map(|status| (self.errors, *status))
    }

    /// Adds it to the paths; returns the schemas it refers to.
    pub(super) fn write(self, paths: &mut Paths) -> Vec<(String, RefOr<Schema>)> {
        let mut built = self.built;
        if let Some((status, response)) = self.success {
            built = built.response(status.to_string(), shared::answer_headers(response, self.is_served).build());
        }
        for status in self.statuses {
            let name = if status == 0 { "default".to_owned() } else { status.to_string() };
            built = built.response(name, RefOr::Ref(shared::error_reference(self.errors, status)));
        }
        if self.is_open {
            built = built.security(SecurityRequirement::default());
        }
        paths.add_path_operation(self.path, vec![self.method], built.build());
        self.schemas
    }
}
