//! Requests to Elasticsearch, sent directly and not through the proxy.

use std::collections::HashMap;

use anyhow::{Context as _, bail};
use elasticsearch::http::transport::Transport;
use elasticsearch::indices::{IndicesCreateParts, IndicesDeleteParts, IndicesPutSettingsParts, IndicesRefreshParts};
use elasticsearch::{Elasticsearch, OpenPointInTimeParts, SearchParts};
use serde_json::{Value, json};

use super::judge::Origin;
use super::records::checksum;

/// The cluster.
pub struct Cluster {
    url: String,
    runtime: tokio::runtime::Runtime,
}

impl Cluster {
    pub fn new(url: &str) -> anyhow::Result<Cluster> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Cluster { url: url.to_string(), runtime })
    }

    /// Returns a client without connections, since the cluster may have been killed since the last request.
    fn client(&self) -> anyhow::Result<Elasticsearch> {
        Ok(Elasticsearch::new(Transport::single_node(&self.url)?))
    }

    /// Creates the index, with a field that takes only numbers.
    pub fn create_index(&self, index: &str) -> anyhow::Result<()> {
        let body = json!({
            "settings": { "number_of_shards": 2, "number_of_replicas": 0 },
            "mappings": { "dynamic": false, "properties": {
                "seq": { "type": "long" }, "sum": { "type": "keyword" }, "strict": { "type": "long" },
            } },
        });
        let answer = self
            .runtime
            .block_on(self.client()?.indices().create(IndicesCreateParts::Index(index)).body(body).send())?;
        if !answer.status_code().is_success() {
            bail!("failed to create the index: {}", answer.status_code());
        }
        Ok(())
    }

    /// Deletes the index.
    pub fn delete_index(&self, index: &str) -> anyhow::Result<()> {
        self.runtime.block_on(self.client()?.indices().delete(IndicesDeleteParts::Index(&[index])).send())?;
        Ok(())
    }

    /// Blocks writes to an index, or removes the block.
    pub fn block(&self, index: &str, block: bool) -> anyhow::Result<()> {
        let body = json!({ "index.blocks.write": block });
        let client = self.client()?;
        let (indices, only) = (client.indices(), [index]);
        let request = indices.put_settings(IndicesPutSettingsParts::Index(&only)).body(body);
        let status = self.runtime.block_on(request.send())?.status_code();
        if !status.is_success() {
            bail!("failed to change the index's block: {status}");
        }
        Ok(())
    }

    /// Returns the record's number in every document, by the origin that the pipeline copied into it. Fails on a document whose
    /// content is not that of a record, and on two documents of one origin.
    pub fn documents(&self, index: &str, topics: &[String]) -> anyhow::Result<HashMap<Origin, u64>> {
        self.runtime.block_on(async {
            let client = self.client()?;
            client.indices().refresh(IndicesRefreshParts::Index(&[index])).send().await?;
            // All pages are of one point in time: otherwise `_shard_doc` changes when segments are merged between two pages.
            let opened =
                client.open_point_in_time(OpenPointInTimeParts::Index(&[index])).keep_alive("5m").send().await?;
            let view = opened.json::<Value>().await?["id"].clone();
            let mut found = HashMap::new();
            let mut after = Value::Null;
            loop {
                let mut body = json!({
                    "size": 10_000, "pit": { "id": view }, "sort": ["_shard_doc"],
                    "_source": ["seq", "sum", "topic", "partition", "offset"],
                });
                if !after.is_null() {
                    body["search_after"] = after;
                }
                let answer: Value = client.search(SearchParts::None).body(body).send().await?.json().await?;
                let hits = answer["hits"]["hits"].as_array().with_context(|| format!("no hits: {answer}"))?;
                let Some(last) = hits.last() else { return Ok(found) };
                after = last["sort"].clone();
                for hit in hits {
                    let source = &hit["_source"];
                    let number =
                        source["seq"].as_u64().with_context(|| format!("a document without a number: {hit}"))?;
                    if source["sum"] != checksum(number) {
                        bail!("a document's content is not what was sent: {hit}");
                    }
                    let origin = Origin::parse(topics, &source["topic"], &source["partition"], &source["offset"]);
                    let origin = origin.with_context(|| format!("a document without an origin: {hit}"))?;
                    if found.insert(origin, number).is_some() {
                        bail!("there are two documents of one record: {hit}");
                    }
                }
            }
        })
    }
}
