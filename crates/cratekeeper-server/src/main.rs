mod app;
mod http;
mod search;

fn main() {}
