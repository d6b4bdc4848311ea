//! Limits through a stock Envoy: who is let through, how far, and what it is charged.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod budgets;
mod concurrency;
mod costs;
mod edits;
mod gateway;
mod quotas;
mod selectors;
mod shown;
mod stock;
mod telemetry;
