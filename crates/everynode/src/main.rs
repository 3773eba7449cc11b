//! x
mod images;
mod pki;
fn main() { println!("{}", images::archive().unwrap().len()); }
