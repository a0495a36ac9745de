//! What operations have in common: authentication, errors, headers, parameters (`docs/api.md`, conventions).

use std::collections::BTreeSet;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ComponentsBuilder, ContentBuilder, Header, HeaderBuilder, Info, InfoBuilder, LicenseBuilder, ObjectBuilder,
        Ref, RefOr, Response, ResponseBuilder, Schema, Type,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::{Object, OneOfBuilder},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use crate::{domain::finding::Finding, engine::StateUnit};

/// Name of the schema of a chain.
pub(super) const CHAIN: &str = "Chain";

/// Headers of every answer, and of those that a backend had a part in.
const ANSWER_HEADERS: [(&str, &str); 2] = [
    ("X-Request-ID", "The client's own, or a new one; log lines carry it too"),
    ("X-Penstock-Warning", "What the caller should know beside the answer; may be there several times"),
];
const SERVED_HEADERS: [(&str, &str); 6] = [
    ("X-Penstock-Backend", "Id of the backend that was asked last"),
    ("X-Penstock-Pool", "Id of the pool it was asked for"),
    ("X-Penstock-Model", "The model that was asked"),
    ("X-Penstock-Attempts", "How many backends were asked"),
    ("X-Penstock-Shared", "`true` where the call was made for an identical request (`singleFlight`)"),
    ("X-Penstock-Cache", "`hit` where the answer was kept from an earlier call (`cache`), `miss` where it could be"),
];
/// Of what asks models, where a caller's rates are limited (`RATE_LIMIT_RPM`, `RATE_LIMIT_TPM`).
const RATE_HEADERS: [(&str, &str); 6] = [
    ("x-ratelimit-limit-requests", "Requests that may come at once"),
    ("x-ratelimit-remaining-requests", "How many of them are left"),
    ("x-ratelimit-reset-requests", "Time until all of them are there again, such as 1.5s or 2m0s"),
    ("x-ratelimit-limit-tokens", "Tokens that may be used at once"),
    ("x-ratelimit-remaining-tokens", "How many of them are left"),
    ("x-ratelimit-reset-tokens", "Time until all of them are there again"),
];
/// Of what may run a chain.
const RUN_HEADERS: [(&str, &str); 1] = [("X-Penstock-Run", "Id of the chain's run, where one was made")];
const RETRY_HEADERS: [(&str, &str); 2] = [
    ("Retry-After", "Seconds after which another try makes sense"),
    (
        "X-Penstock-Reason",
        "no_backend, queue_full, queue_timeout, cooling_down, deadline, overloaded, request_rate, token_rate, runs_full, \
         store_unavailable, restarting or draining",
    ),
];

/// Headers by which a request says where it may go (`docs/api.md`, choosing where a request goes).
const WISHES: [(&str, &str); 7] = [
    ("X-Penstock-Pool", "Only this pool, by id or name"),
    (
        "X-Penstock-Provider",
        "Only these kinds of backend, separated by commas; the only way, beside a model's name, into a cloud",
    ),
    (
        "X-Penstock-Require",
        "Labels every backend must carry that gets to see the request: name=value, separated by commas",
    ),
    ("X-Penstock-Session", "What requests have in common that should meet the same backend"),
    ("X-Penstock-Policy", "How one of the usable backends is chosen, in place of the chain's or the pool's policy"),
    ("X-Penstock-Priority", "Before whom it is served when slots are scarce: interactive, standard or batch"),
    ("X-Penstock-Deadline-Ms", "Milliseconds from its arrival after which nobody wants the answer any more"),
];

/// In which form an operation tells errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Errors {
    /// `{"error": "…"}`, which is Ollama's form too.
    Text,
    /// That of OpenAI's API.
    Openai,
    /// The one or the other, depending on the client.
    Either,
}

/// Stands for the schema of a chain, which comes from its own generator.
pub(in crate::api) struct ChainSchema;

impl PartialSchema for ChainSchema {
    fn schema() -> RefOr<Schema> {
        Object::new().into()
    }
}

impl ToSchema for ChainSchema {
    fn name() -> std::borrow::Cow<'static, str> {
        CHAIN.into()
    }
}

/// The body of an error.
#[derive(ToSchema)]
#[schema(as = Error)]
#[expect(dead_code, reason = "stands for what http writes, in the description only")]
struct ErrorBody {
    /// What is wrong and what to do about it.
    error: String,
    /// What is wrong with a chain that was refused.
    #[schema(required = false)]
    diagnostics: Vec<Finding>,
    /// How many diagnostics there are besides.
    #[schema(rename = "moreDiagnostics", required = false)]
    more: usize,
    /// How far a run came that failed.
    #[schema(required = false)]
    state: Vec<StateUnit>,
}

/// The body of an error as clients of OpenAI's API read it.
#[derive(ToSchema)]
#[schema(as = OpenaiError)]
#[expect(dead_code, reason = "stands for what http writes, in the description only")]
struct OpenaiErrorBody {
    #[schema(inline)]
    error: OpenaiErrorObject,
}

/// What such a client shows.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for what http writes, in the description only")]
struct OpenaiErrorObject {
    /// What is wrong and what to do about it.
    message: String,
    /// The kind of error.
    #[schema(rename = "type")]
    kind: String,
    /// Which parameter is at fault.
    param: Option<String>,
    /// Tells errors of one type apart; of a 503 its reason.
    code: Option<String>,
}

fn all_headers() -> impl Iterator<Item = (&'static str, &'static str)> {
    let served = SERVED_HEADERS.into_iter().chain(RUN_HEADERS).chain(RATE_HEADERS);
    ANSWER_HEADERS.into_iter().chain(served).chain(RETRY_HEADERS)
}

/// What is said of the whole.
pub(super) fn info(about: &str) -> Info {
    let mut license = LicenseBuilder::new().name("Apache-2.0").build();
    license.identifier = Some("Apache-2.0".to_owned());
    InfoBuilder::new()
        .title("Penstock")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(about))
        .license(Some(license))
        .build()
}

/// Either header carries the token, and none is needed where none is set.
pub(super) fn security() -> [SecurityRequirement; 3] {
    let none: [&str; 0] = [];
    [SecurityRequirement::new("bearer", none), SecurityRequirement::new("apiKey", none), SecurityRequirement::default()]
}

/// Components that operations refer to by name, these errors among them.
pub(super) fn components(failures: &BTreeSet<(Errors, u16)>) -> ComponentsBuilder {
    let about = "The setting TOKEN; without it every request is allowed";
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(about)).build();
    let key = ApiKey::Header(ApiKeyValue::with_description("X-API-Key", about));
    let mut components = ComponentsBuilder::new()
        .security_scheme("bearer", SecurityScheme::Http(bearer))
        .security_scheme("apiKey", SecurityScheme::ApiKey(key));
    for (name, about) in all_headers() {
        components = components.header(name, header(name, about));
    }
    for (name, about) in WISHES {
        components = components.parameter(name, parameter(ParameterIn::Header, name, about, text()));
    }
    let page = [
        parameter(ParameterIn::Query, "limit", "How many at most", number(1, Some(1000), Some(100))),
        parameter(ParameterIn::Query, "cursor", "Only what was created strictly before this time", time()),
    ];
    for parameter in page {
        components = components.parameter(parameter.name.clone(), parameter);
    }
    for (errors, status) in failures {
        components = components.response(error_name(*errors, *status), error_response(*errors, *status));
    }
    with_error_schemas(components)
}

fn with_error_schemas(components: ComponentsBuilder) -> ComponentsBuilder {
    let mut nested: Vec<(String, RefOr<Schema>)> = Vec::new();
    ErrorBody::schemas(&mut nested);
    nested.push(("Error".to_owned(), ErrorBody::schema()));
    nested.push(("OpenaiError".to_owned(), OpenaiErrorBody::schema()));
    let forms =
        ["Error", "OpenaiError"].map(Ref::from_schema_name).into_iter().fold(OneOfBuilder::new(), OneOfBuilder::item);
    nested.push(("EitherError".to_owned(), Schema::OneOf(forms.build()).into()));
    components.schemas_from_iter(nested)
}

/// What a status means (`docs/api.md`, errors); 0 stands for every other one.
fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The body cannot be decoded, a value has the wrong type or is too long, or something needed is missing",
        401 => "The token is missing or wrong",
        403 => "Something fixed would change: a default pool, a default model",
        404 => "No such resource, model or association",
        408 => "The request did not arrive in time",
        409 => "A name or URL is taken, an association is there already, or somebody has cancelled the run",
        413 => "The body is larger than MAX_BODY_BYTES",
        415 => "The body's media type is not read here",
        422 => "Well-formed, but no valid resource",
        429 => {
            "As many resources of this type are stored as may be, the caller has sent too much, or the backend asks to slow \
             down"
        }
        500 => "A task, a model call or a hook failed; or a fault of Penstock",
        502 => "The backend failed, or its answer was none",
        503 => "Nothing can serve the request now",
        504 => "The backend took too long",
        _ => "Any other error",
    }
}

fn error_name(errors: Errors, status: u16) -> String {
    let form = match errors {
        Errors::Text => "Error",
        Errors::Openai => "OpenaiError",
        Errors::Either => "EitherError",
    };
    if status == 0 { form.to_owned() } else { format!("{form}{status}") }
}

/// A reference to the described error.
pub(super) fn error_reference(errors: Errors, status: u16) -> Ref {
    Ref::from_response_name(error_name(errors, status))
}

fn error_response(errors: Errors, status: u16) -> Response {
    let schema = Ref::from_schema_name(error_name(errors, 0));
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new().description(meaning(status)).content("application/json", content);
    let response = header_references(response, ANSWER_HEADERS);
    let called = matches!(status, 409 | 500 | 502 | 503 | 504);
    let response = if called { header_references(response, SERVED_HEADERS) } else { response };
    let response = if called { header_references(response, RUN_HEADERS) } else { response };
    let response = if status == 429 { header_references(response, RATE_HEADERS) } else { response };
    if matches!(status, 429 | 503) { header_references(response, RETRY_HEADERS) } else { response }.build()
}

fn header_references<const N: usize>(response: ResponseBuilder, headers: [(&str, &str); N]) -> ResponseBuilder {
    headers.into_iter().fold(response, |response, (name, _)| {
        response.header_ref(name, Ref::new(format!("#/components/headers/{name}")))
    })
}

/// Adds the headers of a successful answer.
pub(super) fn answer_headers(response: ResponseBuilder, is_served: bool) -> ResponseBuilder {
    let response = header_references(response, ANSWER_HEADERS);
    if !is_served {
        return response;
    }
    let response = header_references(response, SERVED_HEADERS);
    header_references(header_references(response, RUN_HEADERS), RATE_HEADERS)
}

/// References to what a request may wish of routing.
pub(super) fn wishes() -> [Ref; 7] {
    WISHES.map(|(name, _)| parameter_reference(name))
}

/// A reference to a parameter of several operations.
pub(super) fn parameter_reference(name: &str) -> Ref {
    Ref::new(format!("#/components/parameters/{name}"))
}

fn header(name: &str, about: &str) -> Header {
    let schema = if matches!(name, "X-Penstock-Attempts" | "Retry-After") { number(0, None, None) } else { text() };
    HeaderBuilder::new().schema(Some(schema)).description(Some(about)).build()
}

/// A parameter that may be left out, unless it stands in the path.
pub(super) fn parameter(place: ParameterIn, name: &str, about: &str, schema: Object) -> Parameter {
    let required = place == ParameterIn::Path;
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(if required { utoipa::openapi::Required::True } else { utoipa::openapi::Required::False })
        .description(Some(about))
        .schema(Some(schema))
        .build()
}

/// Any text.
pub(super) fn text() -> Object {
    Object::with_type(Type::String)
}

/// True or false.
pub(super) fn flag() -> Object {
    ObjectBuilder::new().schema_type(Type::Boolean).default(Some(false.into())).build()
}

/// A whole number.
pub(super) fn number(least: u32, most: Option<u32>, default: Option<u32>) -> Object {
    let number = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(least)).maximum(most);
    number.default(default.map(Into::into)).build()
}

fn time() -> Object {
    let format = utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::DateTime);
    ObjectBuilder::new().schema_type(Type::String).format(Some(format)).build()
}
