//! Two nodes that talk: one waits and answers, the other is given the first one's link.
//!
//! ```console
//! $ cargo run --example talk                  # prints a link, waits
//! $ cargo run --example talk 'omerta:?node=…' # in another terminal: says something, prints the answer
//! ```

use omerta_mesh::{Bootstrap, Invite, Node};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let builder = Node::builder().listen("127.0.0.1:0".parse()?);
    match std::env::args().nth(1) {
        None => {
            let node = builder.relay(50).start().await?;
            let bootstrap = vec![Bootstrap { id: node.id(), address: node.local_address() }];
            println!("{}", Invite { bootstrap, ..Invite::default() });
            while let Some(connection) = node.accept().await {
                let question = String::from_utf8(connection.recv().await?)?;
                connection.send(format!("you said {question:?}")).await?;
            }
        }
        Some(link) => {
            let invite: Invite = link.parse()?;
            let node = builder.invited(&invite).start().await?;
            let peer = invite.bootstrap.first().ok_or("nobody to talk to")?.id;
            let connection = node.connect(peer).await?;
            connection.send("hello").await?;
            println!("{}", String::from_utf8(connection.recv().await?)?);
            println!("{:?}", connection.path().ok_or("no path")?.kind);
            node.shutdown().await;
        }
    }
    Ok(())
}
