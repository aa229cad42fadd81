//@ signals
  reg  [ROW_WIDTH-1:0]     row_in = 0;
  reg                      row_in_valid = 1'b0;
  wire                     row_in_ready;
  wire [ROW_WIDTH-1:0]     row_out;
  wire                     row_out_valid;
  reg                      row_out_ready = 1'b0;
//@ dut_ports
    .i_weights__payload(row_in),
    .i_weights__valid(row_in_valid),
    .i_weights__ready(row_in_ready),
    .o_weights__payload(row_out),
    .o_weights__valid(row_out_valid),
    .o_weights__ready(row_out_ready),
//@ moves
        || row_in_valid && row_in_ready || row_out_valid && row_out_ready
//@ tasks
  // -- the memory outside: sends no row of which an update is under way ----------------------------

  reg [ROW_WIDTH-1:0] memory    [0:ROWS-1];
  reg [31:0]          rows      [0:BEATS-1];  // of each beat
  integer             last_sent [0:ROWS-1];   // rows that had been offered with this one
  integer             next_row = 0;
  integer             returned = 0;

  always @(posedge clk)
    if (!row_in_valid || row_in_ready) begin
      row_in_valid <= 1'b0;
      if (running && next_row < BEATS && !(slow_inputs && chance[11]))
        if (last_sent[rows[next_row]] <= returned) begin
          row_in <= memory[rows[next_row]];
          row_in_valid <= 1'b1;
          last_sent[rows[next_row]] <= next_row + 1;
          next_row <= next_row + 1;
        end
    end

  always @(posedge clk) begin
    row_out_ready <= !(slow_reader && chance[24:22] != 0);
    if (row_out_valid && row_out_ready) begin
      if (returned >= next_row) begin
        if (failures < SHOWN) $display("FAIL: a row more than went in");
        failures = failures + 1;
      end else begin
        memory[rows[returned]] <= row_out;
        returned <= returned + 1;
      end
    end
  end

//@ before
    $readmemh("vectors/rows.hex", rows);
    for (row = 0; row < ROWS; row = row + 1) begin
      memory[row] = initial_weights[row];
      last_sent[row] = 0;
    end

//@ after
    waiting_for = "a row to come back";
    while (returned != BEATS) @(negedge clk);
    for (row = 0; row < ROWS; row = row + 1) compare_row(row, memory[row], final_weights[row]);
    repeat (4) @(negedge clk);  // the unit notes late that the last row has left
