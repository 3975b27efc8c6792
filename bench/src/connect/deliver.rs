//! Messages to endpoints: how fast, and whether any is lost when workers die in the middle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quire_queue::announce;
use quire_store::outbox::{NewEvent, Wish};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::scene::Scene;
use crate::failure::Failure;
use crate::lab::Lab;
use crate::report::note;

pub(super) struct Delivered {
    pub(super) per_s: f64,
    pub(super) lost: f64,
    pub(super) repeated: f64,
}

/// How often each message came.
type Seen = Arc<Mutex<HashMap<String, usize>>>;

/// Tells four endpoints of four tenants; every two seconds the worker is cut off in the middle.
pub(super) async fn run(lab: &Lab, messages: usize) -> Result<Delivered, Failure> {
    note("messages to endpoints");
    let scene = Scene::open(lab).await?;
    let seen = Seen::default();
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(Failure::doing("listening"))?;
    let address = listener.local_addr().map_err(Failure::doing("listening"))?;
    let server = tokio::spawn(serve(listener, seen.clone()));
    let url = format!("http://{address}/hook");
    for number in 0..4 {
        let tenant = scene.tenant(&format!("told-{number}")).await?;
        let wish = Wish {
            url: &url,
            description: "",
            types: &[],
            origin: None,
        };
        let made = scene.connect.create_endpoint(tenant, &wish).await;
        made.map_err(Failure::doing("making an endpoint"))?;
        for part in 0..messages / 4 / 50 {
            let events: Vec<NewEvent> = (0..50)
                .map(|at| NewEvent {
                    kind: "source.published",
                    data: json!({ "source": format!("src_{part}_{at}"), "version": 1 }),
                    origin: None,
                })
                .collect();
            let mut tx = scene.store.tenant(tenant).await?;
            announce(&mut tx, &events).await?;
            tx.commit().await?;
        }
    }
    let wanted = messages / 4 / 50 * 50 * 4;
    let arrived = || seen.lock().unwrap_or_else(PoisonError::into_inner).len();
    let began = Instant::now();
    let mut working = scene.work();
    let mut cut = Instant::now();
    let mut cuts = 0;
    while arrived() < wanted && began.elapsed() < Duration::from_secs(300) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        // Twice: its leases run out, and another one takes over.
        if cuts < 2 && cut.elapsed() > Duration::from_secs(2) {
            working.abort();
            working = scene.work();
            cut = Instant::now();
            cuts += 1;
        }
    }
    let elapsed = began.elapsed().as_secs_f64();
    working.end().await;
    server.abort();
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let sent: usize = seen.values().sum();
    Ok(Delivered {
        per_s: seen.len() as f64 / elapsed,
        lost: (wanted - seen.len().min(wanted)) as f64,
        repeated: (sent - seen.len()) as f64,
    })
}

/// As little of HTTP as a receiver needs: takes every message and keeps the connection.
async fn serve(listener: TcpListener, seen: Seen) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, seen.clone()));
    }
}

async fn answer(stream: TcpStream, seen: Seen) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let (mut length, mut id) = (0, String::new());
        loop {
            let mut line = String::new();
            if read.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else {
                if line.trim_end().is_empty() {
                    break;
                }
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "webhook-id" => value.trim().clone_into(&mut id),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        read.read_exact(&mut body).await?;
        *seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(id)
            .or_default() += 1;
        write.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    }
}
