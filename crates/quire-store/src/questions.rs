//! Questions for whose answers nobody waits, and what came of them. Knows of how a question is written down only
//! that its words are its `text`, and not how it is answered.

use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use quire_types::{Groups, QuestionId, QuestionState, Timestamp};

use crate::sources::decode;
use crate::{Error, Page, PageRequest, TenantTx};

/// How long questions are kept.
const KEPT_DAYS: i32 = 30;
/// Columns, but for the answer, which is long.
const COLUMNS: &str =
    "id, user_name, question, state, null::jsonb as answer, reason, created_at, finished_at";

/// A question that was taken in.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its id.
    pub id: QuestionId,
    /// The tenant's own name of the person who asked.
    pub user: Option<String>,
    /// As it was asked.
    pub question: Value,
    /// How far it has come.
    pub state: QuestionState,
    /// What the sources say; lists leave it out.
    pub answer: Option<Value>,
    /// Why there is no answer.
    pub reason: Option<String>,
    /// When it was asked.
    pub created_at: Timestamp,
    /// When it was answered, or given up.
    pub finished_at: Option<Timestamp>,
}

impl sqlx::FromRow<'_, PgRow> for Question {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let answer: Option<Json<Value>> = row.try_get("answer")?;
        Ok(Self {
            id: row.try_get::<Uuid, _>("id")?.into(),
            user: row.try_get("user_name")?,
            question: row.try_get::<Json<Value>, _>("question")?.0,
            state: decode(row.try_get("state")?)?,
            answer: answer.map(|answer| answer.0),
            reason: row.try_get("reason")?,
            created_at: row.try_get("created_at")?,
            finished_at: row.try_get("finished_at")?,
        })
    }
}

/// Takes a question in, unless `most` wait already; then none. Its answer is for whoever sees what these groups see.
/// What is older than thirty days goes.
pub async fn create(
    tx: &mut TenantTx,
    user: Option<&str>,
    groups: Option<&Groups>,
    question: &Value,
    most: i64,
) -> Result<Option<Question>, Error> {
    sqlx::query(
        "delete from shard.questions
         where tenant_id = $1 and created_at < now() - make_interval(days => $2)",
    )
    .bind(tx.tenant_id())
    .bind(KEPT_DAYS)
    .execute(tx.connection())
    .await?;
    tx.alone_with("questions").await?;
    let created = sqlx::query_as(
        "insert into shard.questions (tenant_id, id, user_name, question, groups)
         select $1, $2, $3, $4, $6
         where (select count(*) from shard.questions where tenant_id = $1 and state = 'queued') < $5
         returning *",
    )
    .bind(tx.tenant_id())
    .bind(QuestionId::generate().uuid())
    .bind(user)
    .bind(Json(question))
    .bind(most)
    .bind(groups.map(Groups::names))
    .fetch_optional(tx.connection())
    .await?;
    Ok(created)
}

/// A question with its answer.
pub async fn get(tx: &mut TenantTx, id: QuestionId) -> Result<Question, Error> {
    sqlx::query_as("select * from shard.questions where tenant_id = $1 and id = $2")
        .bind(tx.tenant_id())
        .bind(id.uuid())
        .fetch_optional(tx.connection())
        .await?
        .ok_or(NOT_FOUND)
}

/// Questions, oldest first, without their answers.
pub async fn list(tx: &mut TenantTx, page: PageRequest) -> Result<Page<Question>, Error> {
    let statement = format!(
        "select {COLUMNS} from shard.questions where tenant_id = $1 and id > $2 order by id limit $3"
    );
    // Of fixed texts.
    let rows = sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(tx.tenant_id())
        .bind(page.sql_after())
        .bind(page.sql_limit())
        .fetch_all(tx.connection())
        .await?;
    Ok(page.page(rows))
}

/// The words of the latest questions, each once, latest first.
pub async fn latest_texts(tx: &mut TenantTx, most: i64) -> Result<Vec<String>, Error> {
    let texts = sqlx::query_scalar(
        "select text
         from (select question ->> 'text' as text, max(created_at) as asked_at
               from shard.questions where tenant_id = $1 group by 1) asked
         where text is not null order by asked_at desc, text limit $2",
    )
    .bind(tx.tenant_id())
    .bind(most)
    .fetch_all(tx.connection())
    .await?;
    Ok(texts)
}

/// Writes down what came of a question: its answer, or why there is none. Whether it still waited for that.
pub async fn finish(
    tx: &mut TenantTx,
    id: QuestionId,
    outcome: Result<&Value, &str>,
) -> Result<bool, Error> {
    let state = match outcome {
        Ok(_) => QuestionState::Answered,
        Err(_) => QuestionState::Failed,
    };
    let finished = sqlx::query(
        "update shard.questions set state = $3, answer = $4, reason = $5, finished_at = now()
         where tenant_id = $1 and id = $2 and state = 'queued'",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(state.as_str())
    .bind(outcome.ok().map(Json))
    .bind(outcome.err())
    .execute(tx.connection())
    .await?;
    Ok(finished.rows_affected() == 1)
}

/// Forgets a question and its answer; one that waits is not answered any more.
pub async fn delete(tx: &mut TenantTx, id: QuestionId) -> Result<(), Error> {
    let deleted = sqlx::query("delete from shard.questions where tenant_id = $1 and id = $2")
        .bind(tx.tenant_id())
        .bind(id.uuid())
        .execute(tx.connection())
        .await?;
    match deleted.rows_affected() {
        0 => Err(NOT_FOUND),
        _ => Ok(()),
    }
}

const NOT_FOUND: Error = Error::NotFound { what: "question" };
