"""The server from outside: a typed client, and the files that hold its key."""

from llmrec_peft.serving.http.client.client import AsyncClient as AsyncClient
from llmrec_peft.serving.http.client.client import Client as Client
from llmrec_peft.serving.http.client.connection import ServerError as ServerError
