# llmrec serve in a container, on the CPU:
#   docker build -t llmrec-serve .
# With CUDA, whose builds of torch are those of PyPI:
#   docker build --build-arg TORCH_INDEX=https://pypi.org/simple -t llmrec-serve:cuda .
# docker-compose.yaml runs it without rights and with a read-only root file system.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/llmrec
ENV PATH=/opt/llmrec/bin:$PATH
WORKDIR /source
# Torch by itself: its layer stays when the source changes.
COPY constraints.txt ./
RUN pip install --index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)"
COPY pyproject.toml README.md LICENSE ./
COPY llmrec_peft llmrec_peft
COPY adapters adapters
COPY recipes recipes
RUN pip install -c constraints.txt '.[serving,minilm]'

FROM python:${PYTHON}-slim
COPY --from=build /opt/llmrec /opt/llmrec
# Whoever runs the container may be another user: --user with an id that owns the state's folder.
RUN useradd --uid 10001 --no-create-home --home-dir /state llmrec \
    && install -d -o llmrec -g llmrec -m 700 /state \
    && install -d /runs
# No base is downloaded: minilm is part of the image, others lie in a folder that the recipe names.
ENV PATH=/opt/llmrec/bin:$PATH \
    HOME=/state \
    HF_HUB_OFFLINE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /state
VOLUME /state
EXPOSE 8765
# Running requests end before the process does; `docker stop --time 40` gives them the server's 30 seconds.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8765/readyz', timeout=4)"]
ENTRYPOINT ["llmrec"]
# In a container 0.0.0.0 is the container's own network; what is published decides who reaches it.
CMD ["serve", "--host", "0.0.0.0", "--port", "8765", "--state", "/state", "--root", "/runs"]
