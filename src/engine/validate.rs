//! Checks a chain and compiles it in one pass (`docs/workflow-spec.md`, validation): whatever the machine would need
//! and cannot have is a finding, and all findings are told.

pub(in crate::engine) mod allowance;
mod extensions;
mod places;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use self::allowance::Allowance;
use crate::{
    domain::{
        chain::{self, Chain, ExecuteConfig, Task},
        provider::ProviderKind,
        route::RoutingStrategy,
    },
    engine::{
        compose::Strategy,
        condition::Conditions,
        duration,
        finding::{Code, Finding, InvalidChain, Severity},
        form::Form,
        handler::Handler,
        program::{Branch, Compose, ModelChoice, Program, Step, Work},
        reply, streamed,
        template::Template,
        transition::{BadOperator, Operator},
        variables::LAST_ERROR,
    },
};

/// The target that ends a run.
const END: &str = "end";
/// Extra attempts a task may ask for.
const MOST_RETRIES: i64 = 100;
/// Tasks of a chain: as many as a run may execute unless it says otherwise. What looks at ways through a chain relies on it.
pub const MAX_TASKS: usize = 1_000;
/// Findings of each severity that are kept; a large body could hold hundreds of thousands.
const MOST_KEPT: usize = 1_000;

/// Compiles a chain.
///
/// # Errors
/// Everything that makes it unable to run.
pub fn compile(chain: &Chain) -> Result<Program, InvalidChain> {
    let (program, findings) = examine(chain);
    let errors = || findings.into_iter().filter(|finding| finding.severity == Severity::Error).collect();
    program.ok_or_else(|| InvalidChain { findings: errors() })
}

/// What stands against a chain, in the order of the chain: errors make it unable to run, warnings do not.
pub fn validate(chain: &Chain) -> Vec<Finding> {
    examine(chain).1
}

/// The program of a chain without errors, and everything that was found.
pub(crate) fn examine(chain: &Chain) -> (Option<Program>, Vec<Finding>) {
    let mut check = Check::of(chain);
    if chain.tasks.len() > MAX_TASKS {
        let message = format!("the chain has {} tasks, the most is {MAX_TASKS}", chain.tasks.len());
        check.find(Code::BadRange, "tasks", message);
        return (None, check.findings);
    }
    let strategy = check.strategy(&chain.routing_strategy);
    check.require = Arc::new(check.labels("require", &chain.require));
    let bounds = check.bounds(chain);
    let input_schema = check.schema("input_schema", chain.input_schema.as_ref());
    if chain.tasks.is_empty() {
        check.find(Code::MissingField, "tasks", "the chain has no tasks");
    }
    // A task that is refused keeps its place among the others only for as long as findings are collected.
    let steps: Vec<Step> = chain.tasks.iter().enumerate().filter_map(|(at, task)| check.task(at, task)).collect();
    let token_limit = u64::try_from(chain.token_limit).ok().filter(|limit| *limit > 0);
    let is_sound = check.findings.iter().all(|finding| finding.severity == Severity::Warning);
    let output_var = filled(chain.output_var.trim());
    let program = is_sound.then(|| Program {
        streamed: streamed::of(&steps, output_var.as_deref()),
        debug: chain.debug,
        token_limit,
        strategy,
        bounds,
        input_schema,
        output_var,
        sets_last_error: !check.places.contains_key(LAST_ERROR),
        steps,
    });
    (program, check.findings)
}

struct Check<'a> {
    /// Where each id is first used.
    places: HashMap<&'a str, usize>,
    /// The task being looked at: its place and its name in messages.
    task: Option<(usize, String)>,
    findings: Vec<Finding>,
    /// Errors and warnings in `findings`.
    told: [usize; 2],
    allowance: Allowance,
    /// Labels that the whole chain requires.
    require: Arc<BTreeMap<String, String>>,
}

impl<'a> Check<'a> {
    fn of(chain: &'a Chain) -> Self {
        let mut places = HashMap::with_capacity(chain.tasks.len());
        for (at, task) in chain.tasks.iter().enumerate() {
            places.entry(task.id.as_str()).or_insert(at);
        }
        let (allowance, require) = (Allowance::of(chain), Arc::default());
        Self { places, task: None, findings: Vec::new(), told: [0; 2], allowance, require }
    }

    /// An error in the field at this pointer below the task being looked at, or below the chain.
    fn find(&mut self, code: Code, field: &str, message: impl AsRef<str>) {
        self.tell(Severity::Error, code, field, message);
    }

    fn tell(&mut self, severity: Severity, code: Code, field: &str, message: impl AsRef<str>) {
        /// Messages quote the chain, and a chain may be long.
        const LONGEST: usize = 400;
        let told = &mut self.told[usize::from(severity == Severity::Warning)];
        *told += 1;
        if *told > MOST_KEPT {
            return;
        }
        let place = self.task.as_ref().map_or_else(String::new, |(at, _)| format!("/tasks/{at}"));
        let glue = if field.is_empty() { "" } else { "/" };
        self.findings.push(Finding {
            severity,
            code,
            message: reply::shortened(message.as_ref(), LONGEST),
            path: format!("{place}{glue}{field}"),
            line: None,
            column: None,
            hint: None,
            task: self.task.as_ref().map(|(_, name)| reply::excerpt(name)),
        });
    }

    /// The value, or a finding.
    fn take<T>(&mut self, code: Code, field: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.find(code, field, message)).ok()
    }

    fn strategy(&mut self, text: &str) -> Option<RoutingStrategy> {
        let strategy = RoutingStrategy::parse(text);
        if strategy.is_none() && !text.trim().is_empty() {
            let known = RoutingStrategy::ALL.map(RoutingStrategy::as_str).join(", ");
            let message = format!("unknown routing_strategy '{text}'; the strategies are {known}");
            self.find(Code::UnknownValue, "routing_strategy", message);
        }
        strategy
    }

    fn task(&mut self, at: usize, task: &Task) -> Option<Step> {
        self.task = Some((at, if task.id.is_empty() { format!("#{}", at + 1) } else { task.id.clone() }));
        self.id(at, &task.id);
        let handler = self.handler(&task.handler);
        let work = handler.and_then(|handler| self.work(handler, task));
        if !(0..=MOST_RETRIES).contains(&task.retry_on_failure.max(0)) {
            let message = format!("retry_on_failure is {}, the most is {MOST_RETRIES}", task.retry_on_failure);
            self.find(Code::BadRange, "retry_on_failure", message);
        }
        let timeout = match task.timeout.trim() {
            "" => None,
            text => self.take(
                Code::BadDuration,
                "timeout",
                duration::parse(text)
                    .filter(|timeout| !timeout.is_zero())
                    .ok_or_else(|| format!("timeout '{text}' is no positive duration such as 500ms, 10s or 1m30s")),
            ),
        };
        let (model, prompt, print) = (
            self.model(&task.execute_config),
            self.template("prompt_template", &task.prompt_template),
            self.template("print", &task.print),
        );
        let compose = task.compose.as_ref().and_then(|compose| self.compose(compose));
        let on_failure = match task.transition.on_failure.as_str() {
            "" => None,
            target => self.place("transition/on_failure", "on_failure", target),
        };
        let (retry, max_visits) = (self.retry(task), self.max_visits(task.max_visits));
        let (catches, variable) = (self.catches(&task.transition.catch), self.variable(&task.transition.variable));
        // What a path or JSON leads to may be a number.
        let may_be_number = variable.is_some() || handler == Some(Handler::ParseJson);
        let yields_number = may_be_number || handler.is_some_and(Handler::yields_number);
        let branches = task.transition.branches.iter().enumerate();
        let branches = branches.filter_map(|(at, branch)| self.branch(at, branch, yields_number)).collect();
        if task.transition.branches.is_empty() && handler != Some(Handler::RaiseError) {
            let message = "transition.branches is empty: add at least one, for example {operator: default, goto: end}";
            self.find(Code::MissingField, "transition/branches", message);
        }
        self.task = None;
        Some(Step {
            id: task.id.as_str().into(),
            error_id: Some(format!("{}_error", task.id))
                .filter(|id| !self.places.contains_key(id.as_str()))
                .map(Into::into),
            composed_id: format!("{}_composed", task.id).into(),
            handler: handler?,
            work: work?,
            model,
            system_instruction: task.system_instruction.clone(),
            prompt,
            input_var: filled(&task.input_var),
            print,
            compose,
            timeout,
            retry,
            max_visits,
            catches,
            on_failure,
            variable,
            on_failure_alert: filled(&task.transition.on_failure_alert),
            branches,
        })
    }

    fn id(&mut self, at: usize, id: &str) {
        match self.places.get(id) {
            _ if id.is_empty() => self.find(Code::MissingField, "id", "the task has no id"),
            _ if id == END => {
                self.find(Code::ReservedTaskId, "id", "a task cannot be called 'end', that ends the run");
            }
            Some(first) if *first != at => {
                let message = format!("task {} has the same id", first + 1);
                self.find(Code::DuplicateTaskId, "id", message);
            }
            _ => {}
        }
    }

    fn handler(&mut self, name: &str) -> Option<Handler> {
        let handler = Handler::parse(name);
        if name.trim().is_empty() {
            self.find(Code::MissingField, "handler", "the task has no handler");
        } else if handler.is_none() {
            let known = Handler::ALL.map(Handler::as_str).join(", ");
            let message = format!("unknown handler '{name}'; the handlers are {known}");
            self.find(Code::UnknownHandler, "handler", message);
        }
        handler
    }

    fn work(&mut self, handler: Handler, task: &Task) -> Option<Work> {
        let constrain = !task.execute_config.constrain.trim().eq_ignore_ascii_case("off");
        match handler {
            Handler::RawString => Some(Work::RawString),
            Handler::ConditionKey => {
                if task.valid_conditions.is_empty() {
                    let message = "condition_key needs valid_conditions, the replies it allows";
                    self.find(Code::MissingField, "valid_conditions", message);
                }
                let conditions = Conditions::new(task.valid_conditions.clone());
                Some(Work::ConditionKey { conditions, constrain })
            }
            Handler::ParseNumber => Some(Work::Parse { form: Form::Number, constrain }),
            Handler::ParseScore => Some(Work::Parse { form: Form::Score, constrain }),
            Handler::ParseRange => Some(Work::Parse { form: Form::Range, constrain }),
            Handler::ParseJson => self.parse_json(task, constrain),
            Handler::ParseTransition => Some(Work::ParseTransition),
            Handler::Embedding => Some(Work::Embedding),
            Handler::RaiseError => Some(Work::RaiseError),
            Handler::Noop => Some(Work::Noop),
            Handler::ModelExecution => Some(Work::ModelExecution),
            Handler::ConvertToOpenaiChatResponse => {
                Some(Work::ConvertToOpenaiChatResponse { model: filled(task.execute_config.model.trim()) })
            }
            Handler::Hook => {
                let hook = task.hook.as_ref().filter(|hook| !hook.name.trim().is_empty());
                let hook = hook.ok_or_else(|| "hook needs hook.name, the registered hook to call".to_owned());
                self.take(Code::MissingField, "hook/name", hook).map(|hook| Work::Hook(Arc::new(hook.clone())))
            }
        }
    }

    fn model(&mut self, config: &ExecuteConfig) -> ModelChoice {
        if !matches!(config.constrain.trim().to_ascii_lowercase().as_str(), "" | "auto" | "off") {
            let message = format!("execute_config.constrain is '{}', it can be auto or off", config.constrain);
            self.find(Code::UnknownValue, "execute_config/constrain", message);
        }
        let given = |one: &String, more: &[String]| {
            let all = std::iter::once(one).chain(more).filter(|text| !text.trim().is_empty());
            all.cloned().collect::<Vec<_>>()
        };
        let mut providers = Vec::new();
        let listed = config.providers.iter().enumerate().map(|(at, name)| (format!("providers/{at}"), name));
        for (field, name) in std::iter::once(("provider".to_owned(), &config.provider)).chain(listed) {
            if name.trim().is_empty() {
                continue;
            }
            let known = || ProviderKind::ALL.map(ProviderKind::as_str).join(", ");
            match ProviderKind::parse(name) {
                Some(kind) if providers.contains(&kind) => {}
                Some(kind) => providers.push(kind),
                None => {
                    let message = format!("unknown provider '{name}'; the providers are {}", known());
                    self.find(Code::UnknownValue, &format!("execute_config/{field}"), message);
                }
            }
        }
        ModelChoice {
            names: given(&config.model, &config.models),
            providers,
            temperature: config.temperature,
            max_tokens: config.max_tokens.filter(|tokens| *tokens > 0),
            fallbacks: self.fallbacks(&config.fallback_models),
            pool: filled(config.pool.trim()),
            require: self.required(&config.require),
        }
    }

    fn template(&mut self, field: &str, source: &str) -> Option<Template> {
        if source.is_empty() {
            return None;
        }
        let allowed = self.allowance.template(source);
        self.take(Code::BadRange, field, allowed)?;
        let parsed = Template::parse(source).map_err(|error| format!("{field} cannot be parsed: {error}"));
        self.take(Code::TemplateSyntax, field, parsed)
    }

    fn compose(&mut self, compose: &chain::Compose) -> Option<Compose> {
        let with_var = filled(&compose.with_var);
        if with_var.is_none() {
            let message = "compose.with_var is empty, it names the variable to join with";
            self.find(Code::MissingField, "compose/with_var", message);
        }
        let strategy = Strategy::parse(&compose.strategy).ok_or_else(|| {
            format!(
                "unknown compose.strategy '{}'; the strategies are override, merge_chat_histories and \
                 append_string_to_chat_history",
                compose.strategy
            )
        });
        let strategy = self.take(Code::UnknownValue, "compose/strategy", strategy);
        Some(Compose { with_var: with_var?, strategy: strategy? })
    }

    fn branch(&mut self, at: usize, branch: &chain::Branch, yields_number: bool) -> Option<Branch> {
        let field = |name: &str| format!("transition/branches/{at}/{name}");
        let operator = match Operator::parse(branch, yields_number) {
            Ok(operator) => Some(operator),
            Err(BadOperator::Unknown(error)) => {
                self.find(Code::UnknownOperator, &field("operator"), format!("branch {}: {error}", at + 1));
                None
            }
            Err(BadOperator::When(error)) => {
                self.find(Code::BadRange, &field("when"), format!("branch {}: {error}", at + 1));
                None
            }
        };
        let goto = match branch.goto.as_str() {
            "" | END => None,
            target => self.place(&field("goto"), &format!("branch {}: goto", at + 1), target),
        };
        Some(Branch { operator: operator?, goto, alert: filled(&branch.alert_on_match) })
    }

    /// The task that a field names. `called`: the field in messages.
    fn place(&mut self, field: &str, called: &str, target: &str) -> Option<usize> {
        let place = self.places.get(target).copied();
        let place = place.ok_or_else(|| format!("{called} names the task '{target}', which does not exist"));
        self.take(Code::UnknownGoto, field, place)
    }
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
