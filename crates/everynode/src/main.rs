//! x
mod images;
fn main() { println!("{}", images::archive().unwrap().len()); }
