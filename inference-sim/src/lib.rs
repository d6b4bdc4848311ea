//! An inference server without a model: OpenAI's and Anthropic's APIs as vLLM answers them, with numbers a test can predict.
//!
//! - A token is a word. A prompt costs its words, an answer has as many words as asked for ([`Options::completion_tokens`],
//!   cut by `max_tokens`), so usage is known before the request is sent.
//! - Streams are server-sent events at a set pace, with usage when `stream_options` asks for it.
//! - At most [`Options::max_running`] requests run; the others wait, and `/metrics` and the load header say so.
//! - What goes wrong in real life can be ordered: see [`Fault`].
//! - Everything that arrived can be read back: [`Simulator::requests`], or `GET /sim/requests`.
//!
//! Control over HTTP: `PUT` and `DELETE /sim/fault`, `PUT` and `DELETE /sim/load`, `GET` and `DELETE /sim/requests`.

mod api;
mod control;
mod error;
mod fault;
mod form;
mod load;
mod log;
mod options;
mod plan;
mod reply;
mod server;

pub use fault::Fault;
pub use load::Load;
pub use log::Seen;
pub use options::Options;
pub use server::Simulator;
