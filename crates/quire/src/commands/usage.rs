//! `quire usage`.

use std::path::Path;

use chrono::{NaiveDate, Utc};
use serde_json::{Value, json};

use quire_store::{SystemTx, tenants};
use quire_tenancy::budgets::Period;
use quire_tenancy::invoice::{self, Invoice};
use quire_tenancy::sums::{self, Sum};
use quire_tenancy::{notices, usage};
use quire_types::{NanoUsd, TenantId};

use super::{read_file, tenant_named};
use crate::cli::{EventFormat, UsageArgs, UsageCommand};
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

/// Events that are read at once.
const PAGE: i64 = 1_000;

pub(super) async fn run(args: &UsageArgs, node: &Node, output: &Output) -> Result<(), Failure> {
    match &args.command {
        Some(UsageCommand::Reconcile {
            provider,
            tolerance,
            file,
        }) => return reconcile(node, output, provider, *tolerance, file).await,
        Some(UsageCommand::Notices { limit }) => return notices(node, output, *limit).await,
        None => {}
    }
    let month = month(args.month.as_deref())?;
    let Some(slug) = &args.tenant else {
        sums::sum(&node.store, None).await?;
        let mut tx = node.store.system().await?;
        let top = sums::top(&mut tx, Period::Month, month, args.top).await?;
        let slugs = slugs(&mut tx, top.iter().map(|sum| sum.tenant_id.into())).await?;
        tx.commit().await?;
        return show(output, "tenant", top.iter().zip(slugs));
    };
    let mut tx = node.store.system().await?;
    let tenant = tenant_named(&mut tx, slug).await?;
    let days = (month, Period::Month.next(month));
    if let Some(format) = args.events {
        events(&mut tx, output, tenant.id, days, format).await?;
        return Ok(tx.commit().await?);
    }
    tx.commit().await?;
    sums::sum(&node.store, Some(tenant.id)).await?;
    let mut tx = node.store.system().await?;
    let mut rows = sums::of_tenant(&mut tx, tenant.id, Period::Day, days).await?;
    rows.reverse();
    rows.extend(sums::of_tenant(&mut tx, tenant.id, Period::Month, days).await?);
    tx.commit().await?;
    let names = rows.iter().map(|sum| match sum.period.as_str() {
        "month" => sum.starts_on.format("%Y-%m").to_string(),
        _ => sum.starts_on.to_string(),
    });
    show(output, "when", rows.iter().zip(names))
}

fn month(text: Option<&str>) -> Result<NaiveDate, Failure> {
    match text {
        None => Ok(Period::Month.start(Utc::now().date_naive())),
        Some(text) => format!("{text}-01")
            .parse()
            .map_err(|_| Failure::invalid(format!("'{text}' is no month: write it like 2026-11"))),
    }
}

async fn slugs(
    tx: &mut SystemTx,
    ids: impl Iterator<Item = TenantId>,
) -> Result<Vec<String>, Failure> {
    let mut slugs = Vec::new();
    for id in ids {
        // What a tenant that is gone used stays known.
        let tenant = tenants::get(tx, id).await;
        slugs.push(tenant.map_or_else(|_| id.to_string(), |tenant| tenant.slug));
    }
    Ok(slugs)
}

fn show<'a>(
    output: &Output,
    what: &str,
    sums: impl Iterator<Item = (&'a Sum, String)>,
) -> Result<(), Failure> {
    if output.is_json() {
        let sums: Vec<Value> = sums.map(|(sum, _)| as_json(sum)).collect();
        return output.json(&json!({ "usage": sums }));
    }
    let rows: Vec<Vec<String>> = sums
        .map(|(sum, name)| {
            vec![
                name,
                sum.questions.to_string(),
                sum.searches.to_string(),
                sum.sources.to_string(),
                sum.quantities.input_tokens.to_string(),
                sum.quantities.output_tokens.to_string(),
                NanoUsd::from_nanos(sum.cost).to_string(),
            ]
        })
        .collect();
    let header = [
        what,
        "questions",
        "searches",
        "sources",
        "tokens in",
        "tokens out",
        "cost",
    ];
    output.table(&header, &rows);
    Ok(())
}

fn as_json(sum: &Sum) -> Value {
    let mut row = json!(sum.quantities);
    row["tenant"] = json!(TenantId::from(sum.tenant_id));
    row["period"] = json!(sum.period);
    row["starts_on"] = json!(sum.starts_on);
    row["questions"] = json!(sum.questions);
    row["searches"] = json!(sum.searches);
    row["sources"] = json!(sum.sources);
    row["cost_nanousd"] = json!(sum.cost);
    let models = sum.models.iter().map(|(name, model)| {
        let model = json!({ "calls": model.calls, "cost_nanousd": model.cost });
        (name.clone(), model)
    });
    row["models"] = models.collect::<serde_json::Map<_, _>>().into();
    row
}

async fn events(
    tx: &mut SystemTx,
    output: &Output,
    tenant: TenantId,
    days: (NaiveDate, NaiveDate),
    format: EventFormat,
) -> Result<(), Failure> {
    if format == EventFormat::Csv {
        output.line(invoice::CSV_HEADER.trim_end());
    }
    let mut after = None;
    loop {
        let page = usage::events(tx, tenant, days, after, PAGE).await?;
        for event in &page {
            match format {
                EventFormat::Csv => output.line(invoice::csv_line(event).trim_end()),
                EventFormat::CloudEvents => output.line(invoice::cloud_event(event).to_string()),
            }
        }
        match page.last() {
            Some(last) => after = Some((last.day(), last.id)),
            None => return Ok(()),
        }
    }
}

async fn reconcile(
    node: &Node,
    output: &Output,
    provider: &str,
    tolerance: u32,
    file: &Path,
) -> Result<(), Failure> {
    let invoice = Invoice::parse(&read_file(file)?)?;
    let days = invoice
        .days()
        .ok_or_else(|| Failure::invalid("the invoice has no lines"))?;
    let mut tx = node.store.system().await?;
    let counted = usage::by_model(&mut tx, provider, days).await?;
    tx.commit().await?;
    let drifts = invoice.compare(&counted, tolerance);
    if output.is_json() {
        let drifts: Vec<_> = drifts
            .iter()
            .map(|drift| {
                json!({
                    "day": drift.day, "model": drift.model, "invoiced": drift.invoiced.to_string(),
                    "counted": drift.counted.to_string(), "difference_nanousd": drift.difference(),
                })
            })
            .collect();
        return output.json(&json!({ "from": days.0, "until": days.1, "drifts": drifts }));
    }
    if drifts.is_empty() {
        output.note("the invoice and quire's own count agree");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = drifts
        .iter()
        .map(|drift| {
            vec![
                drift.day.to_string(),
                drift.model.clone(),
                drift.invoiced.to_string(),
                drift.counted.to_string(),
                NanoUsd::from_nanos(drift.difference()).to_string(),
            ]
        })
        .collect();
    output.table(
        &["day", "model", "invoiced", "counted", "difference"],
        &rows,
    );
    Ok(())
}

async fn notices(node: &Node, output: &Output, limit: i64) -> Result<(), Failure> {
    let mut tx = node.store.system().await?;
    let notices = notices::list(&mut tx, limit).await?;
    let slugs = slugs(
        &mut tx,
        notices.iter().map(|notice| notice.tenant_id.into()),
    )
    .await?;
    tx.commit().await?;
    if output.is_json() {
        let notices: Vec<_> = notices
            .iter()
            .zip(&slugs)
            .map(|(notice, slug)| {
                json!({
                    "tenant": slug, "kind": notice.kind, "hour": notice.hour, "level": notice.level,
                    "at": notice.at, "detail": notice.detail,
                })
            })
            .collect();
        return output.json(&json!({ "notices": notices }));
    }
    let rows: Vec<Vec<String>> = notices
        .iter()
        .zip(slugs)
        .map(|(notice, slug)| {
            vec![
                notice.at.format("%Y-%m-%d %H:%M").to_string(),
                slug,
                notice.kind.clone(),
                notice.level.to_string(),
                notice.detail.to_string(),
            ]
        })
        .collect();
    output.table(&["at", "tenant", "kind", "level", "detail"], &rows);
    Ok(())
}
