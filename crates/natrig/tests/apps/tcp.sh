#!/bin/sh
# Two that talk over TCP: one waits, the other one is run when it is told to dial.
talk() { while sleep 0.2; do echo hello; done; }
case $1 in
    wait)
        while :; do
            talk | nc -l -p 7000 | while read -r line; do echo "got $line"; done
        done
        ;;
    dial)
        until talk | nc "$2" 7000 | while read -r line; do echo "got $line"; done; do
            sleep 0.2
        done
        ;;
esac
