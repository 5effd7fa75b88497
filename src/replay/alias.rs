//! The end of a replay into a new index: the alias is moved there in one step, once the counts agree.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::index::curl;
use super::plan::shell_line;
use crate::sink::elasticsearch::{Client, Method, Payload};

/// How long a request is repeated while the cluster rejects it as overloaded (429, 503). A node whose memory circuit
/// breaker is open rejects everything until its next garbage collection.
pub(super) const BUSY_LIMIT: Duration = Duration::from_secs(60);

/// Sends a request, again while the cluster is overloaded, and returns the status and the JSON of the response.
pub(super) async fn ask(
    client: &Client,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> anyhow::Result<(u16, Value)> {
    let payload = body.map_or(Payload::None, |body| Payload::Json(body.to_string().into()));
    let answer =
        client.request_with_retry(method, path, &[], payload, BUSY_LIMIT).await.with_context(|| path.to_string())?;
    Ok((answer.status, serde_json::from_slice(&answer.body).unwrap_or_default()))
}

pub(super) fn expect(status: u16, what: &str, body: &Value) -> anyhow::Result<()> {
    if (200..300).contains(&status) {
        return Ok(());
    }
    bail!("{what}: the cluster answers {status}: {body}")
}

/// Fails where shards did not take part: their documents would not be counted.
fn expect_shards(what: &str, body: &Value) -> anyhow::Result<()> {
    match body["_shards"]["failed"].as_u64() {
        Some(0) => Ok(()),
        _ => bail!("{what}: not every shard took part: {body}"),
    }
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
    expect_shards(index, &body)?;
    let (status, body) = ask(client, Method::GET, &format!("{index}/_count"), None).await?;
    expect(status, index, &body)?;
    expect_shards(index, &body)?;
    body["count"].as_u64().map(Some).with_context(|| format!("{index}: no count in the response: {body}"))
}

/// Whether a name is that of a data stream.
///
/// # Errors
/// The cluster does not answer.
pub async fn is_data_stream(client: &Client, name: &str) -> anyhow::Result<bool> {
    let (status, body) = ask(client, Method::GET, &format!("_resolve/index/{name}"), None).await?;
    // Who may write to an index may not be allowed to look it up; nothing that is there under this name is seen then.
    if matches!(status, 401 | 403 | 404) {
        return Ok(false);
    }
    expect(status, name, &body)?;
    let streams =
        body["data_streams"].as_array().with_context(|| format!("{name}: no data streams in the response: {body}"))?;
    Ok(!streams.is_empty())
}

/// An index that an alias points to.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The index.
    pub index: String,
    /// The properties of the alias for this index: write index, filter, routing.
    pub options: Value,
}

/// Indices that an alias points to; none where there is no such alias.
///
/// # Errors
/// The name is that of an index, or the cluster does not answer as it should.
pub async fn indices_of(client: &Client, alias: &str) -> anyhow::Result<Vec<Member>> {
    let (status, body) = ask(client, Method::GET, &format!("_alias/{alias}"), None).await?;
    if status == 404 {
        let (status, _) = ask(client, Method::GET, &format!("{alias}/_settings"), None).await?;
        if status != 404 {
            bail!("`{alias}` is an index and no alias: it can't be swapped");
        }
        return Ok(Vec::new());
    }
    expect(status, alias, &body)?;
    let indices = body.as_object().filter(|indices| !indices.is_empty());
    let indices = indices.with_context(|| format!("{alias}: no indices in the response: {body}"))?;
    Ok(indices
        .iter()
        .map(|(name, index)| Member { index: name.clone(), options: index["aliases"][alias].clone() })
        .collect())
}

/// Returns the command that points an alias to where it has pointed before it was moved to an index.
///
/// # Errors
/// Never in practice: it is JSON that was read before.
pub fn swap_back(client: &Client, alias: &str, before: &[Member], index: &str) -> anyhow::Result<String> {
    let add = |member: &Member| {
        let mut options = member.options.as_object().cloned().unwrap_or_default();
        options.insert("index".to_string(), json!(member.index));
        options.insert("alias".to_string(), json!(alias));
        json!({ "add": options })
    };
    let remove = json!({"remove": {"index": index, "alias": alias}});
    let actions: Vec<Value> =
        std::iter::once(remove).chain(before.iter().filter(|member| member.index != index).map(add)).collect();
    Ok(shell_line(&curl(&client.host(), "_aliases", &json!({ "actions": actions }))?))
}

/// Moves an alias from wherever it points to an index, in one step.
///
/// # Errors
/// The cluster refuses.
pub async fn swap(client: &Client, alias: &str, from: &[Member], to: &str) -> anyhow::Result<()> {
    let mut actions: Vec<Value> = from
        .iter()
        .filter(|member| member.index != to)
        .map(|member| json!({"remove": {"index": member.index, "alias": alias}}))
        .collect();
    actions.push(json!({"add": {"index": to, "alias": alias, "is_write_index": true}}));
    let (status, body) = ask(client, Method::POST, "_aliases", Some(json!({ "actions": actions }))).await?;
    expect(status, "_aliases", &body)?;
    if body["acknowledged"] != true {
        bail!("_aliases: not acknowledged: {body}");
    }
    Ok(())
}
