//! The end of a replay into a new index: the alias is moved there in one step, once the counts agree.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::sink::elasticsearch::{Client, Method, Payload};

/// Sends a request and reads its JSON; answers the status with it.
async fn ask(client: &Client, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<(u16, Value)> {
    let payload = body.map_or(Payload::None, |body| Payload::Json(body.to_string().into()));
    let answer = client.request(method, path, &[], payload).await.with_context(|| path.to_string())?;
    Ok((answer.status, serde_json::from_slice(&answer.body).unwrap_or_default()))
}

fn expect(status: u16, what: &str, body: &Value) -> anyhow::Result<()> {
    if (200..300).contains(&status) {
        return Ok(());
    }
    bail!("{what}: the cluster answers {status}: {body}")
}

/// Number of documents of an index after a refresh; `None` where there is no such index.
///
/// # Errors
/// The cluster does not answer as it should.
pub async fn count(client: &Client, index: &str) -> anyhow::Result<Option<u64>> {
    let (status, body) = ask(client, Method::POST, &format!("{index}/_refresh"), None).await?;
    if status == 404 {
        return Ok(None);
    }
    expect(status, index, &body)?;
    let (status, body) = ask(client, Method::GET, &format!("{index}/_count"), None).await?;
    expect(status, index, &body)?;
    Ok(body["count"].as_u64())
}

/// Whether a name is that of a data stream.
///
/// # Errors
/// The cluster does not answer.
pub async fn is_data_stream(client: &Client, name: &str) -> anyhow::Result<bool> {
    let (status, body) = ask(client, Method::GET, &format!("_resolve/index/{name}"), None).await?;
    Ok(status == 200 && body["data_streams"].as_array().is_some_and(|streams| !streams.is_empty()))
}

/// Indices that an alias points to; none where there is no such alias.
///
/// # Errors
/// The name is that of an index, or the cluster does not answer as it should.
pub async fn indices_of(client: &Client, alias: &str) -> anyhow::Result<Vec<String>> {
    let (status, body) = ask(client, Method::GET, &format!("_alias/{alias}"), None).await?;
    if status == 404 {
        let (status, _) = ask(client, Method::GET, &format!("{alias}/_settings"), None).await?;
        if status != 404 {
            bail!("`{alias}` is an index and no alias: it can't be swapped");
        }
        return Ok(Vec::new());
    }
    expect(status, alias, &body)?;
    Ok(body.as_object().map(|indices| indices.keys().cloned().collect()).unwrap_or_default())
}

/// Moves an alias from wherever it points to an index, in one step.
///
/// # Errors
/// The cluster refuses.
pub async fn swap(client: &Client, alias: &str, from: &[String], to: &str) -> anyhow::Result<()> {
    let mut actions: Vec<Value> = from.iter().filter(|index| *index != to).map(|index| json!({"remove": {"index": index, "alias": alias}})).collect();
    actions.push(json!({"add": {"index": to, "alias": alias, "is_write_index": true}}));
    let (status, body) = ask(client, Method::POST, "_aliases", Some(json!({ "actions": actions }))).await?;
    expect(status, "_aliases", &body)
}
