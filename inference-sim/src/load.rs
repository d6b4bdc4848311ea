//! How busy the server is: what runs, what waits, and how it says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::options::Options;

/// A load to report in place of the real one.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    pub running: usize,
    pub waiting: usize,
    /// From 0 to 1.
    pub kv_cache: f64,
}

#[derive(Debug)]
pub(crate) struct Meter {
    slots: Arc<Semaphore>,
    max_running: usize,
    running: AtomicUsize,
    waiting: AtomicUsize,
    pretended: Mutex<Option<Load>>,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    finished: AtomicU64,
    aborted: AtomicU64,
}

impl Meter {
    pub(crate) fn new(max_running: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(max_running)),
            max_running,
            running: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            pretended: Mutex::new(None),
            prompt_tokens: AtomicU64::new(0),
            completion_tokens: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            aborted: AtomicU64::new(0),
        }
    }

    pub(crate) fn pretend(&self, load: Option<Load>) {
        *self.pretended.lock() = load;
    }

    pub(crate) fn load(&self) -> Load {
        let running = self.running.load(Relaxed);
        let real = || Load {
            running,
            waiting: self.waiting.load(Relaxed),
            kv_cache: running as f64 / self.max_running.max(1) as f64,
        };
        self.pretended.lock().unwrap_or_else(real)
    }

    pub(crate) fn aborted(&self) -> u64 {
        self.aborted.load(Relaxed)
    }

    pub(crate) fn count(&self, prompt_tokens: usize, completion_tokens: usize) {
        self.prompt_tokens.fetch_add(prompt_tokens as u64, Relaxed);
        self.completion_tokens.fetch_add(completion_tokens as u64, Relaxed);
    }

    /// Waits for a slot; the request runs until what is returned is dropped.
    pub(crate) async fn admit(self: &Arc<Self>) -> Running {
        let waiting = Waiting::new(self);
        // The semaphore is never closed, so there is always a permit in the end.
        let permit = self.slots.clone().acquire_owned().await.ok();
        drop(waiting);
        self.running.fetch_add(1, Relaxed);
        Running { meter: self.clone(), _permit: permit, complete: false }
    }

    /// The header by which a server tells a load balancer how busy it is: `TEXT` or `JSON`.
    pub(crate) fn report(&self, format: &str) -> Option<String> {
        let Load { waiting, kv_cache, .. } = self.load();
        match format.to_ascii_uppercase().as_str() {
            "TEXT" => Some(format!(
                "TEXT named_metrics.kv_cache_usage_perc={kv_cache}, named_metrics.num_requests_waiting={waiting}"
            )),
            "JSON" => {
                let metrics = serde_json::json!({ "kv_cache_usage_perc": kv_cache, "num_requests_waiting": waiting });
                Some(format!("JSON {}", serde_json::json!({ "named_metrics": metrics })))
            }
            _ => None,
        }
    }

    /// `/metrics`, under vLLM's names.
    pub(crate) fn metrics(&self, options: &Options) -> String {
        let load = self.load();
        let (gauge, counter) = ("gauge", "counter");
        let rows: [(&str, &str, &str, f64); 7] = [
            ("vllm:num_requests_running", gauge, "Requests in execution", load.running as f64),
            ("vllm:num_requests_waiting", gauge, "Requests waiting to be processed", load.waiting as f64),
            ("vllm:kv_cache_usage_perc", gauge, "KV-cache usage; 1 is all of it", load.kv_cache),
            ("vllm:prompt_tokens_total", counter, "Prompt tokens processed", self.prompt_tokens.load(Relaxed) as f64),
            (
                "vllm:generation_tokens_total",
                counter,
                "Generation tokens processed",
                self.completion_tokens.load(Relaxed) as f64,
            ),
            ("vllm:request_success_total", counter, "Requests processed", self.finished.load(Relaxed) as f64),
            ("vllm:request_aborted_total", counter, "Requests that the client left", self.aborted() as f64),
        ];
        let model = options.base_model();
        let mut text = String::new();
        for (name, kind, help, value) in rows {
            text.push_str(&format!(
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{{engine=\"0\",model_name=\"{model}\"}} {value:?}\n"
            ));
        }
        let (most, adapters) = (options.loras.len(), options.loras.join(","));
        text.push_str(&format!(
            "# HELP vllm:lora_requests_info Adapters in use\n# TYPE vllm:lora_requests_info gauge\n\
             vllm:lora_requests_info{{max_lora=\"{most}\",running_lora_adapters=\"{adapters}\",waiting_lora_adapters=\"\"}} 1.0\n\
             # HELP vllm:cache_config_info The KV-cache\n# TYPE vllm:cache_config_info gauge\n\
             vllm:cache_config_info{{block_size=\"16\",num_gpu_blocks=\"{}\"}} 1.0\n",
            options.max_model_len / 16
        ));
        text
    }
}

struct Waiting<'a>(&'a Meter);

impl<'a> Waiting<'a> {
    fn new(meter: &'a Meter) -> Self {
        meter.waiting.fetch_add(1, Relaxed);
        Self(meter)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

/// A request in execution. Dropped before it is complete, it counts as left by its client.
#[derive(Debug)]
pub(crate) struct Running {
    meter: Arc<Meter>,
    _permit: Option<OwnedSemaphorePermit>,
    complete: bool,
}

impl Running {
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.meter.running.fetch_sub(1, Relaxed);
        let ended = if self.complete { &self.meter.finished } else { &self.meter.aborted };
        ended.fetch_add(1, Relaxed);
    }
}
