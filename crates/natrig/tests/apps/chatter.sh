#!/bin/sh
# omerta-mesh as a node that cannot be told to carry anything: once it is told to connect, it says something every 200 ms.
{
    read -r connect
    echo "$connect"
    peer=${connect##*\"peer\": \"}
    peer=${peer%%\"*}
    while sleep 0.2; do
        echo "{\"do\": \"send\", \"peer\": \"$peer\", \"text\": \"hello\"}"
    done
} | /app/omerta-mesh "$@"
