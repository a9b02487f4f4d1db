//! Processes, their homes, and questions about them. No assertions about the product are made here, except that its
//! output can be parsed.

mod certificates;
mod cluster;
mod foreign_server;
mod gateway;
mod http;
mod journal;
mod nginx;
mod node;
mod process;
mod python;
mod python_client;
mod raw;
mod receiver;
mod relay;
mod sandbox;
mod socket;
mod tmux;
mod wait;

pub(crate) use certificates::{Authority, Certificate};
pub(crate) use cluster::{Cluster, shipped_providers, text};
pub(crate) use foreign_server::{ForeignServer, Kind};
pub(crate) use gateway::Gateway;
pub(crate) use http::{ask, get};
pub(crate) use journal::{Event, Journal, Watch, time_ms};
pub(crate) use nginx::{Nginx, nginx_is_here};
pub(crate) use node::node;
pub(crate) use process::{Ended, Process};
pub(crate) use python::{Beat, beat, gone, now_ms};
pub(crate) use python_client::python;
pub(crate) use raw::Raw;
pub(crate) use receiver::{Receiver, attribute, hex, shown};
pub(crate) use relay::{Condition, Direction, Relay};
pub(crate) use sandbox::{Sandbox, default_port_is_left_alone, default_port_is_used, example, free_port};
pub(crate) use socket::Socket;
pub(crate) use tmux::Tmux;
pub(crate) use wait::{PATIENCE, until};
