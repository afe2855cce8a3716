//! The documentation's page.

/// What stands on the page is what is tested.
#[test]
fn the_page_shows_the_test_as_it_is() {
    let page = include_str!("../../../docs/library.md");
    let (head, test) = include_str!("seed.rs").split_once("\n\n").unwrap();
    assert!(head.starts_with("//! "));
    assert!(
        page.contains(&format!("```rust\n{test}```\n")),
        "docs/library.md shows another test than seed.rs"
    );
}
