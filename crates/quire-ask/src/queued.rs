//! Questions for whose answers nobody waits: taken in, answered by a task when there is room, and told to endpoints.
//!
//! They go the way [`Route::Batch`], in the class of the gate that lends its seats to everybody who waits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use quire_index::Filter;
use quire_queue::{Attempt, Failure, Priority, Retry, Task, announce};
use quire_store::outbox::NewEvent;
use quire_store::questions::{self, Question as Row};
use quire_store::{Placement, TenantTx};
use quire_tenancy::catalogue::QuestionType;
use quire_tenancy::{Account, Caller, Reason, Refusal};
use quire_types::{ErrorKind, Kind, QuestionId, QuestionState, RequestId};

use crate::Error;
use crate::answer::Answer;
use crate::ask::{Asker, Asking, Question};
use crate::router::Route;

/// Questions of a tenant that may wait.
const MOST_WAITING: i64 = 1_000;
/// When a tenant may try again that has so many.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// A question as it is written down.
#[derive(Serialize, Deserialize)]
struct Written {
    text: String,
    #[serde(default)]
    filter: Filter,
    #[serde(default)]
    explain: bool,
}

/// A question that was taken in, with what came of it.
#[derive(Clone, Debug)]
pub struct Queued {
    /// Its id.
    pub id: QuestionId,
    /// The words.
    pub text: String,
    /// The row.
    pub row: Row,
    /// The answer, if it was asked for and is there.
    pub answer: Option<Answer>,
}

impl Queued {
    /// What a row says. What an older version wrote and nobody can read any more is no answer.
    pub fn of(row: Row) -> Self {
        let text = row.question.get("text").and_then(Value::as_str);
        let answer = row.answer.clone();
        Self {
            id: row.id,
            text: text.unwrap_or_default().to_owned(),
            answer: answer.and_then(|answer| serde_json::from_value(answer).ok()),
            row,
        }
    }
}

impl Asker {
    /// Takes a question in.
    ///
    /// # Errors
    /// A question that can't be asked, a tenant that may not ask now, a plan without such questions, a thousand that
    /// wait already, and those of the database.
    pub async fn queue(&self, asking: &Asking, question: &Question) -> Result<Queued, Error> {
        let text = self.check(&question.text)?;
        self.config.control.check(&asking.caller)?;
        let account = &asking.caller.account;
        let in_plan = &account.terms.plan.question_types;
        if !in_plan.contains(&QuestionType::Batch) {
            return Err(Error::Refused(Refusal::new(
                Reason::Plan,
                "the plan has no questions that are answered later: ask with POST /v1/ask",
            )));
        }
        let written = Written {
            text,
            filter: question.filter.clone(),
            explain: question.explain,
        };
        let written = json!(written);
        let groups = question.filter.groups.as_ref();
        let mut tx = self.config.store.tenant(account.tenant.placement()).await?;
        let user = asking.user.as_deref();
        let Some(row) = questions::create(&mut tx, user, groups, &written, MOST_WAITING).await?
        else {
            let refusal = Refusal::new(
                Reason::Seats,
                format!(
                    "{MOST_WAITING} questions wait for their answers: ask again when some are answered"
                ),
            );
            return Err(Error::Refused(Refusal {
                retry_after: Some(TRY_AGAIN),
                ..refusal
            }));
        };
        quire_queue::enqueue(&mut tx, &AnswerQuestion { question: row.id }).await?;
        tx.commit().await?;
        self.config.bell.notify_one();
        Ok(Queued::of(row))
    }
}

/// Answers a question that was taken in.
#[derive(Serialize, Deserialize)]
pub struct AnswerQuestion {
    question: QuestionId,
}

#[async_trait]
impl Task for AnswerQuestion {
    const KIND: &'static str = "answer-question";
    const PRIORITY: Priority = Priority::Low;
    // A rate that is used up for the hour is no reason to give up.
    const MAX_ATTEMPTS: i16 = 30;
    const TIMEOUT: Duration = Duration::from_mins(10);
    const RETRY: Retry = Retry::DEFAULT;
    type Context = Arc<Asker>;

    async fn run(&self, asker: &Arc<Asker>, attempt: &Attempt) -> Result<(), Failure> {
        let Some(account) = account(asker, attempt).await? else {
            return Ok(());
        };
        let placement = account.tenant.placement();
        let Some(row) = self.waiting(asker, placement).await.map_err(failure)? else {
            return Ok(());
        };
        let written: Written = match serde_json::from_value(row.question) {
            Ok(written) => written,
            Err(error) => {
                let reason = format!("the question can't be read any more: {error}; ask it again");
                return self.finish(asker, placement, attempt, Err(reason)).await;
            }
        };
        let asking = Asking {
            caller: Caller { account, key: None },
            user: row.user,
            // Each attempt asks anew: under one id, a second call of a provider would pass for the first one.
            request: RequestId::generate(),
        };
        let question = Question {
            text: written.text,
            filter: written.filter,
            fresh: false,
            explain: written.explain,
            route: Some(Route::Batch),
            history: Vec::new(),
        };
        let outcome = match asker.ask(&asking, question, &mut |_| ()).await {
            Ok(answer) => Ok(json!(answer)),
            Err(error) if error.kind().is_transient() => return Err(failure(error)),
            Err(error) => Err(error.to_string()),
        };
        self.finish(asker, placement, attempt, outcome).await
    }

    async fn gave_up(
        &self,
        asker: &Arc<Asker>,
        attempt: &Attempt,
        why: &Failure,
    ) -> Result<(), Failure> {
        let Some(account) = account(asker, attempt).await? else {
            return Ok(());
        };
        let outcome = Err(why.message.clone());
        let mut tx =
            (asker.config.store.tenant(account.tenant.placement()).await).map_err(failure)?;
        self.tell(&mut tx, outcome).await.map_err(failure)?;
        tx.commit().await.map_err(failure)
    }
}

impl AnswerQuestion {
    /// The question, unless somebody answered or deleted it.
    async fn waiting(&self, asker: &Asker, placement: Placement) -> Result<Option<Row>, Error> {
        let mut tx = asker.config.store.tenant(placement).await?;
        let row = questions::get(&mut tx, self.question).await;
        tx.commit().await?;
        match row {
            Ok(row) => Ok((row.state == QuestionState::Queued).then_some(row)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down what came of it, and ends the task with that.
    async fn finish(
        &self,
        asker: &Asker,
        placement: Placement,
        attempt: &Attempt,
        outcome: Result<Value, String>,
    ) -> Result<(), Failure> {
        let mut tx = (asker.config.store.tenant(placement).await).map_err(failure)?;
        self.tell(&mut tx, outcome).await.map_err(failure)?;
        attempt.complete(&mut tx).await.map_err(failure)?;
        tx.commit().await.map_err(failure)?;
        asker.config.bell.notify_one();
        Ok(())
    }

    async fn tell(&self, tx: &mut TenantTx, outcome: Result<Value, String>) -> Result<(), Error> {
        let outcome = outcome.as_ref().map_err(String::as_str);
        if questions::finish(tx, self.question, outcome).await? {
            let event = NewEvent {
                kind: match outcome {
                    Ok(_) => "question.answered",
                    Err(_) => "question.failed",
                },
                data: json!({ "question": self.question }),
                origin: None,
            };
            announce(tx, &[event]).await?;
        }
        Ok(())
    }
}

/// Whose task it is; none when the tenant is gone.
async fn account(asker: &Asker, attempt: &Attempt) -> Result<Option<Arc<Account>>, Failure> {
    match asker.config.control.account(attempt.tenant).await {
        Ok(account) => Ok(Some(account)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::of(&error)),
    }
}

fn failure(error: impl Into<Error>) -> Failure {
    let error = error.into();
    let failure = Failure::of(&error);
    match error.retry_after() {
        Some(wait) => failure.retry_after(wait),
        None => failure,
    }
}
