//! Limits through a stock Envoy: who is let through, how far, and what it is charged.

#![allow(clippy::unwrap_used)]

mod budgets;
mod costs;
mod gateway;
mod selectors;
